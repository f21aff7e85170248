"""Makes the reviews: words follow the stars that couples give, and these the hidden quality."""

from __future__ import annotations

from datetime import date, timedelta
from random import Random

from weddinglk.domain import Review, VendorCategory
from weddinglk.seed.fragments import texts
from weddinglk.seed.people import community_in, couple, language_of

OLDEST_DAYS = 1_100  # three years


def make_review(
    rng: Random,
    review_id: int,
    subject: str,
    *,
    district: str,
    category: VendorCategory | None,
    quality: float,
    anchor: date,
) -> Review:
    """Return a review of a venue (``category`` is ``None``) or a vendor.

    It was written before ``anchor``, rather lately than long ago.
    """
    community = community_in(rng, district)
    language = language_of(rng, community)
    rating = min(5, max(1, round(rng.gauss(2.75 + 2.3 * quality, 0.85))))
    age_days = 3 + int((OLDEST_DAYS - 3) * rng.random() ** 1.6)
    return Review(
        id=review_id,
        subject=subject,
        author=couple(rng, community, language),
        written_on=(anchor - timedelta(days=age_days)).isoformat(),
        rating=rating,
        language=language,
        text=_text(rng, rating, category, language),
    )


def _text(rng: Random, rating: int, category: VendorCategory | None, language: str) -> str:
    mood = "good" if rating >= 4 else "mixed" if rating == 3 else "bad"
    praise = "venue.good" if category is None else f"{category}.good"
    complaint = "venue" if category is None else "vendor"
    parts = [] if rng.random() < 0.25 else [f"opening.{mood}"]
    if mood == "good":
        parts += [praise] * (2 if rng.random() < 0.35 else 1)
        if rating == 4 and rng.random() < 0.5:
            parts.append(f"{complaint}.mixed")
    elif mood == "mixed":
        parts += [praise, f"{complaint}.mixed"] if rng.random() < 0.7 else [f"{complaint}.mixed"]
    else:
        parts += [f"{complaint}.bad"] * (2 if rng.random() < 0.3 else 1)
    if rng.random() < 0.45:
        parts.append(f"closing.{mood}")
    sentences = dict.fromkeys(
        rng.choice(texts("reviews", part)).in_language(language) for part in parts
    )
    return " ".join(sentences)

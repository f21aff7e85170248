"""The map of Sri Lanka that pages draw inline: an outline and where a position falls on it.

No tiles and no third party. The outline is simplified from Natural Earth's 1:10m countries, which
are in the public domain; it serves orientation, not navigation.
"""

from __future__ import annotations

from weddinglk.domain import Position

WIDTH, HEIGHT = 245, 415  # user units of the drawing: a hundred a degree of longitude
_WEST, _NORTH = 79.55, 9.95  # degrees at the drawing's upper left corner
_UNITS_PER_DEGREE_EAST = 100
_UNITS_PER_DEGREE_NORTH = 101  # 1 / cos(7.9 degrees), so that the island keeps its shape

OUTLINE = (
    "M233 265 233 300 223 337 210 355 181 376 165 383 164 381 163 384 156 387 126 395 116 "
    "403 111 403 104 407 92 405 89 402 79 402 65 396 55 386 48 372 42 352 42 345 31 317 30 "
    "309 31 297 26 280 27 277 30 286 31 281 28 277 23 237 25 231 15 187 15 175 23 162 20 "
    "169 23 171 18 186 20 191 18 196 26 198 28 197 24 190 28 183 25 174 32 143 37 138 40 "
    "122 37 102 50 93 56 76 57 65 52 62 50 56 65 48 50 36 70 43 74 50 88 45 106 51 92 43 82 "
    "42 64 30 62 33 65 36 64 37 57 32 55 31 59 35 41 27 36 18 42 14 57 13 58 17 67 19 79 32 "
    "89 38 70 20 60 16 59 14 70 12 86 34 120 60 125 66 119 66 124 71 127 72 125 69 127 69 "
    "133 81 128 82 133 85 135 84 141 94 140 96 133 92 137 97 138 99 137 102 140 103 143 98 "
    "160 118 163 126 165 126 168 131 165 135 168 135 170 142 168 142 166 139 166 146 161 "
    "143 158 146 162 144 166 149 173 150 175 149 174 146 177 145 182 148 184 160 180 156 "
    "181 160 185 163 190 184 188 187 185 178 185 183 188 187 191 185 197 197 201 197 201 "
    "201 205 205 203 208 204 212 209 214 216 224 214 227 206 221 205 225 211 225 216 235 "
    "217 233 221 236 222 252 224 251 225 257 227 250 228 251Z"
    "M219 231 218 223 226 237 227 246 226 250 224 248 224 238Z"
    "M25 91 15 87 16 85 29 88 37 94 30 92 36 99Z"
    "M18 45 12 46 11 40 17 43Z"
    "M35 34 29 25 31 20 33 19 34 26 43 33Z"
)


def point_on_map(position: Position) -> tuple[int, int]:
    """Return ``(x, y)`` of ``position`` in the drawing, clamped to its frame."""
    x = round((position.longitude - _WEST) * _UNITS_PER_DEGREE_EAST)
    y = round((_NORTH - position.latitude) * _UNITS_PER_DEGREE_NORTH)
    return min(max(x, 0), WIDTH), min(max(y, 0), HEIGHT)

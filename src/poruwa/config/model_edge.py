"""The policy's sections on what stands in front: the CDN, and pictures made for devices."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated

from poruwa.config.setting import EDGE, OPERATIONS, Secret, Setting


class CdnProvider(StrEnum):
    """Whose CDN stands in front."""

    NONE = "none"
    CLOUDFLARE = "cloudflare"
    CLOUDFRONT = "cloudfront"


@dataclass(frozen=True, slots=True, kw_only=True)
class CdnDomains:
    """Host names that the CDN serves."""

    static: Annotated[str | None, Setting(form="host-port", brings=EDGE, why="CSS, scripts.")] = (
        None
    )
    images: Annotated[str | None, Setting(form="host-port", brings=EDGE, why="Pictures.")] = None
    api: Annotated[str | None, Setting(form="host-port", brings=EDGE, why="The API.")] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cdn:
    """The content delivery network in front; without one the gateway plays that layer."""

    provider: Annotated[CdnProvider, Setting(brings=EDGE, why="Which driver purges.")] = (
        CdnProvider.NONE
    )
    zone: Annotated[
        str | None, Setting(brings=EDGE, why="Cloudflare zone or CloudFront distribution.")
    ] = None
    token: Annotated[Secret | None, Setting(brings=EDGE, why="Allows purging; nothing else.")] = (
        None
    )
    bypass_cookie: Annotated[
        str | None,
        Setting(
            form="token",
            brings=EDGE,
            why="A writer carries this cookie and the CDN lets them by: needed for tagged classes.",
        ),
    ] = None
    domains: Annotated[CdnDomains, Setting(why="Hosts it serves.")] = field(
        default_factory=CdnDomains
    )
    compression: Annotated[bool, Setting(brings=EDGE, why="Brotli, zstd, gzip.")] = True
    minification: Annotated[bool, Setting(brings=EDGE, why="CSS and scripts, at build time.")] = (
        True
    )
    image_optimization: Annotated[bool, Setting(brings=EDGE, why="See images.")] = True
    http2: Annotated[bool, Setting(brings=EDGE, why="Towards browsers.")] = True
    regions: Annotated[
        tuple[str, ...],
        Setting(form="name", brings=OPERATIONS, why="Regions to deliver from; a later stage."),
    ] = ()


class ImageFormat(StrEnum):
    """What pictures are sent as, best first."""

    AVIF = "avif"
    WEBP = "webp"
    JPEG = "jpeg"


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """Pictures sized and encoded for the device."""

    enabled: Annotated[bool, Setting(brings=EDGE, why="Off until a site has photographs.")] = False
    formats: Annotated[
        tuple[ImageFormat, ...],
        Setting(empty=False, brings=EDGE, why="The first that the browser accepts."),
    ] = (ImageFormat.AVIF, ImageFormat.WEBP, ImageFormat.JPEG)
    widths: Annotated[
        tuple[int, ...],
        Setting(
            least=16,
            most=8192,
            empty=False,
            unit="pixels",
            brings=EDGE,
            why="A few widths, so that copies are shared.",
        ),
    ] = (320, 640, 960, 1280, 1920)
    quality: Annotated[
        int, Setting(least=1, most=100, unit="%", brings=EDGE, why="Of JPEG; others to match.")
    ] = 80

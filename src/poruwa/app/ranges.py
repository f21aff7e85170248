"""Ranges of the policy's settings, for sections that a program makes itself.

The loader of policy files checks text; here the values are Python's, and only numbers can be wrong
in a way that the types do not show.
"""

from __future__ import annotations

from poruwa.config.fields import Kind, fields_of
from poruwa.config.forms import FORMS
from poruwa.errors import ConfigError

_NUMBERS = frozenset((Kind.DURATION, Kind.SIZE, Kind.INTEGER, Kind.NUMBER))


def check_ranges(section: object) -> None:
    """Check the values of a section of the policy's model, and of the sections within.

    Raises:
        ConfigError: a number outside its range, or a text not of its form.
    """
    model: type = type(section)
    for field in fields_of(model):
        value = getattr(section, field.attribute)
        place = f"{model.__name__}.{field.attribute}"
        setting = field.setting
        if field.kind is Kind.SECTION and value is not None:
            check_ranges(value)
        elif field.kind is Kind.TEXT and value is not None:
            try:
                FORMS[setting.form].check(value)
            except ValueError as error:
                raise ConfigError(f"{place}: {error}.") from error
        elif field.kind in _NUMBERS and not (setting.zero and value == 0):
            least = setting.least if setting.least is not None else float("-inf")
            most = setting.most if setting.most is not None else float("inf")
            if not least <= value <= most:
                raise ConfigError(f"{place} is {value}; it goes from {least:g} to {most:g}.")

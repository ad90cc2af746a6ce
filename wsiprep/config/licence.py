"""Licences of data: what may be done with what is made of them, and what to cite."""

from __future__ import annotations

import re
from typing import Self

from pydantic import Field, model_validator

from wsiprep.config.section import Section


class Licence(Section):
    """What may be done with the data and with what is made of it."""

    spdx: str = Field(description="SPDX name, or LicenseRef-... where there is none")
    redistribute_derived: bool = Field(True, description="false: patches made of it must not be passed on (ND)")
    non_commercial: bool = False
    share_alike: bool = Field(False, description="what is made of it must carry the same licence")
    note: str = Field("", description="what the name does not say, such as parts under another licence")

    @model_validator(mode="after")
    def _as_named(self) -> Self:
        limits = limits_of(self.spdx)
        if "nd" in limits and self.redistribute_derived:
            raise ValueError(f"{self.spdx} forbids derivatives: say redistribute_derived: false")
        if "nc" in limits and not self.non_commercial:
            raise ValueError(f"{self.spdx} forbids commercial use: say non_commercial: true")
        if "sa" in limits and not self.share_alike:
            raise ValueError(f"{self.spdx} asks for the same licence: say share_alike: true")
        return self

    @property
    def limits(self) -> tuple[str, ...]:
        """What it forbids or asks for, in sentences for a card; empty where nothing."""
        sentences = []
        if not self.redistribute_derived:
            sentences.append(
                "No derivatives: these patches are derived from the data, so they must not be redistributed; "
                "the recipe may be, and whoever has the data can make them again."
            )
        if self.non_commercial:
            sentences.append("No commercial use of the data or of what is made of it.")
        if self.share_alike:
            sentences.append("What is made of the data must be passed on under the same licence.")
        return (*sentences, *((self.note,) if self.note else ()))


def limits_of(spdx: str) -> frozenset[str]:
    """Limits that a Creative Commons name spells out: nd, nc, sa.

    >>> sorted(limits_of("CC-BY-NC-ND-4.0"))
    ['nc', 'nd']
    """
    if not re.match(r"(?i)cc[-_ ]", spdx):
        return frozenset()
    return frozenset(re.split(r"[-_ ]", spdx.lower())) & {"nd", "nc", "sa"}


def licence_of(spdx: str) -> Licence:
    """The licence that a name alone stands for, for recipes without a dataset section."""
    limits = limits_of(spdx)
    return Licence(
        spdx=spdx, redistribute_derived="nd" not in limits, non_commercial="nc" in limits, share_alike="sa" in limits
    )


class Citation(Section):
    """What to cite."""

    text: str
    doi: str | None = Field(None, pattern=r"^10\.\d{4,9}/\S+$")
    url: str | None = None

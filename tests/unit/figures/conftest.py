"""Pictures that a test leaves open are closed after it: matplotlib keeps every one."""

from collections.abc import Iterator

import pytest

from scalinglaws.figures.shared import style


@pytest.fixture(autouse=True)
def no_open_pictures() -> Iterator[None]:
    yield
    style.plt.close("all")

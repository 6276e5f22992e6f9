"""Fixtures that several test files share."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from presets.arm import Arm
from presets.profile import JudgeChoice, Profile, Sampling, Server
from tests import miniature as build
from tests.stage import CHROMIUM, CHROMIUM_ARGS, PATIENCE_MS, require_chromium


def pytest_configure() -> None:
    """Keep OpenMP from spinning: anything else on the same cores would be slowed down twentyfold."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@dataclass(frozen=True)
class Miniature:
    """Folders of a very small model, a LoRA adapter that changes what it says, and one that changes nothing."""

    base: Path
    adapter: Path
    idle_adapter: Path


@pytest.fixture(scope="session")
def miniature(tmp_path_factory: pytest.TempPathFactory) -> Miniature:
    """The miniature model and its adapters, built once."""
    folder = tmp_path_factory.mktemp("miniature")
    base = build.build_model(folder / "base")
    return Miniature(
        base=base,
        adapter=build.build_adapter(base, folder / "adapter"),
        idle_adapter=build.build_adapter(base, folder / "idle", scale=0),
    )


@pytest.fixture(scope="session")
def profile_of() -> Callable[..., Profile]:
    """A function that makes a profile with these servers, and an arm for every model that they serve."""

    def make(*servers: Server) -> Profile:
        arms = tuple(
            Arm(id=f"{server.id}-{name}", title=name, server=server.id, model=name)
            for server in servers
            for name in (server.served_name, *server.adapters)
        )
        return Profile(
            id="test",
            title="test",
            description="",
            taxonomy="tinyworld",
            servers=servers,
            arms=arms,
            judge=JudgeChoice("tinyworld"),
            sampling=Sampling(max_tokens=32),
        )

    return make


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A real browser; where there is none the test is skipped, or fails in CI."""
    require_chromium()
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=str(CHROMIUM), args=CHROMIUM_ARGS)
        yield chromium
        chromium.close()

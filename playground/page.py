"""The page: theme, style, keys, and the tabs in it. `build_page` gets its parts passed in and starts nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from evaluation.provenance import Provenance
from evaluation.serving import Serving
from evaluation.snapshots import Snapshots
from evaluation.store import Store
from playground import markup, operating_markup, wording
from playground.answering import Answering
from playground.api import Api
from playground.attacks import Attacks
from playground.batch import Batches
from playground.check import Check
from playground.compare import AT_ONCE, Compare
from playground.connections import JudgeFactory
from playground.guide import Guide
from playground.health import Health
from playground.history import FIRST_TAB, TAB, History, browser_state
from playground.limits import NO_LIMITS, Allowance
from playground.matrix import Matrix
from playground.metrics import Metrics, store_bytes
from playground.picker import Choices
from playground.roles import ALONE, Roles
from playground.scoreboard import Scoreboard
from playground.session import MOST_PAGES
from presets.profile import Profile
from presets.risk_taxonomy import load_taxonomy
from presets.safety_config import load_safety_configs

HERE = Path(__file__).parent
MAX_UPLOAD = "1kb"
"""The page takes no files; gradio's upload route stands open all the same."""

MAX_WAITING = 64
"""Events that may wait in line; a visitor beyond that is told to come back."""


@dataclass(frozen=True)
class Page:
    """The built page, its tabs, and what `gr.Blocks.launch` must be given to show it as it was designed."""

    blocks: gr.Blocks
    compare: Compare
    check: Check
    matrix: Matrix
    attacks: Attacks
    scoreboard: Scoreboard
    history: History
    health: Health

    @property
    def launch_options(self) -> dict[str, Any]:
        """Theme, style and keys; nothing public, nothing recorded, nothing fetched from elsewhere."""
        return {
            "theme": theme(),
            "css_paths": [HERE / "style.css"],
            "js": (HERE / "keys.js").read_text(encoding="utf-8"),
            "ssr_mode": False,
            "run_history": False,
            "state_session_capacity": MOST_PAGES,
            "max_file_size": MAX_UPLOAD,
            "enable_monitoring": False,
            "footer_links": [],
            "app_kwargs": {
                "lifespan": self._lifespan,
                "routes": self.health.routes,
                "docs_url": None,
                "redoc_url": None,
            },
            "quiet": True,
        }

    @asynccontextmanager
    async def _lifespan(self, _: object) -> AsyncIterator[None]:
        """Close the connections to the servers, in the event loop that opened them, when the page goes down."""
        try:
            yield
        finally:
            await self.compare.answering.close()


def build_page(
    profile: Profile,
    serving: Serving,
    open_judge: JudgeFactory,
    store: Store,
    *,
    roles: Roles = ALONE,
    always_blind: bool = False,
    allowance: Allowance = NO_LIMITS,
    snapshots: Snapshots | None = None,
) -> Page:
    """The page over these parts. Raises `PresetError` for unreadable presets.

    `roles` decides what visitors may do. With `always_blind` no conversation shows the names of its arms before the vote.
    `allowance` is what one visitor may ask for. Of `snapshots` the page shows when the last good one was made.
    """
    metrics = Metrics()
    answering = Answering(
        profile, serving, open_judge, store, provenance=Provenance(profile), allowance=allowance, metrics=metrics
    )
    taxonomy = load_taxonomy(profile.taxonomy)
    choices = Choices(profile, taxonomy, load_safety_configs(profile.taxonomy), roles)
    with gr.Blocks(title=wording.TITLE, analytics_enabled=False, fill_width=True) as blocks:
        if roles.might("call"):
            # First of all: gradio gives a name to whoever comes first, and the tabs' handlers have names, too.
            Api(answering, choices)
        gr.HTML(markup.header(profile))
        mine = browser_state()
        with gr.Tabs(elem_id="tabs") as tabs:
            with gr.Tab(wording.TABS[0], elem_id="tab-compare", id=FIRST_TAB):
                guide = Guide(choices)
                compare = Compare(answering, choices, always_blind=always_blind)
                guide.wire(compare)
                batches = Batches(compare)
            with gr.Tab(wording.TABS[1], elem_id="tab-check"):
                check = Check(batches, choices, compare.picker)
            with gr.Tab(wording.TABS[2], elem_id="tab-matrix"):
                matrix = Matrix(batches, choices, compare.picker)
            with gr.Tab(wording.TABS[3], elem_id="tab-attacks"):
                attacks = Attacks(batches, choices)
            with gr.Tab(wording.TABS[4], elem_id="tab-scores") as tab:
                scoreboard = Scoreboard(store.path, compare, tab)
            with gr.Tab(wording.TABS[5], elem_id="tab-history", id=TAB) as tab:
                history = History(store, compare, mine, tabs, tab)
        gr.HTML(markup.footer())
        blocks.load(compare.arrive, **compare.polling)
        blocks.load(history.open_link, **history.opening)
        if snapshots is not None:
            _show_copies(blocks, snapshots)
    blocks.queue(max_size=MAX_WAITING, default_concurrency_limit=8, api_open=False)
    metrics.watch("cosa_waiting", "Clicks of visitors that wait in line.", lambda: len(blocks._queue))
    metrics.watch("cosa_store_bytes", "What the store takes on its disk.", lambda: store_bytes(store.path))
    if snapshots is not None:
        metrics.watch("cosa_last_good_backup_timestamp_seconds", "0 before the first.", snapshots.last_good_timestamp)
    metrics.watch_servers([server.id for server in profile.servers], serving.status)
    return Page(blocks, compare, check, matrix, attacks, scoreboard, history, Health(answering, metrics))


def _show_copies(blocks: gr.Blocks, snapshots: Snapshots) -> None:
    shown = gr.HTML()
    blocks.load(
        lambda: operating_markup.copies(snapshots.last_good, failed=bool(snapshots.problem)), None, [shown], **AT_ONCE
    )


def theme() -> gr.themes.Base:
    """Warm paper and ink with one green accent; fonts of the visitor's own system."""
    sans = ("ui-sans-serif", "system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "sans-serif")
    mono = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace")
    base = gr.themes.Base(
        primary_hue=gr.themes.colors.teal,
        neutral_hue=gr.themes.colors.stone,
        radius_size=gr.themes.sizes.radius_md,
        font=list(sans),
        font_mono=list(mono),
    )
    return base.set(**_colours())


def _colours() -> dict[str, str]:
    """Gradio's own variables in terms of the page's (see style.css), which know light and dark."""
    same = {
        "body_background_fill": "var(--paper)",
        "body_text_color": "var(--ink)",
        "body_text_color_subdued": "var(--muted)",
        "background_fill_primary": "var(--card)",
        "background_fill_secondary": "var(--paper)",
        "border_color_primary": "var(--line)",
        "border_color_accent": "var(--accent)",
        "block_background_fill": "transparent",
        "block_border_width": "0px",
        "block_label_background_fill": "transparent",
        "block_label_text_color": "var(--muted)",
        "block_title_text_color": "var(--muted)",
        "block_info_text_color": "var(--muted)",
        "input_background_fill": "var(--field)",
        "input_background_fill_focus": "var(--field)",
        "input_border_width": "1px",
        "input_border_color": "var(--line)",
        "input_border_color_focus": "var(--accent)",
        "input_placeholder_color": "var(--faint)",
        "button_primary_background_fill": "var(--accent)",
        "button_primary_background_fill_hover": "var(--accent-strong)",
        "button_primary_text_color": "var(--on-accent)",
        "button_primary_border_color": "transparent",
        "button_secondary_background_fill": "var(--field)",
        "button_secondary_background_fill_hover": "var(--wash)",
        "button_secondary_text_color": "var(--ink)",
        "button_secondary_border_color": "var(--line)",
        "button_border_width": "1px",
        "checkbox_background_color": "var(--field)",
        "checkbox_background_color_selected": "var(--accent)",
        "checkbox_border_color": "var(--line)",
        "checkbox_border_color_selected": "var(--accent)",
        "checkbox_label_background_fill": "transparent",
        "checkbox_label_background_fill_selected": "var(--wash)",
        "checkbox_label_text_color": "var(--ink)",
        "checkbox_label_text_color_selected": "var(--ink)",
        "checkbox_label_border_color": "var(--line)",
    }
    dark = {f"{name}_dark": value for name, value in same.items() if not name.endswith("_width")}
    return {**same, **dark}

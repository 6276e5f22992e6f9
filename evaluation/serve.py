"""Run one vLLM server of a profile alone, for a page elsewhere: `python -m evaluation.serve --profile tinyworld --server main`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from evaluation.vllm_process import ServingError, check_memory, vllm_command, vllm_environment
from presets.profile import Profile, Server, load_profile
from presets.yaml_file import PresetError

CANNOT_SERVE = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Become the server; returns, with 2, only when it cannot start."""
    parser = argparse.ArgumentParser(prog="python -m evaluation.serve", description="One vLLM server of a profile.")
    parser.add_argument("--profile", default="tinyworld", help="the profile: an id, or a YAML file")
    parser.add_argument("--server", default="main", help="which of its servers (default: main)")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on; vLLM asks nobody for a password")
    parser.add_argument("--port", type=int, default=8000)
    options = parser.parse_args(arguments)
    try:
        server = find(load_profile(options.profile), options.server)
        check_memory()
        command = vllm_command(server, options.port, host=options.host)
    except (PresetError, ServingError) as error:
        print(f"Cannot serve: {error}", file=sys.stderr)
        return CANNOT_SERVE
    os.execve(command[0], command, vllm_environment(server, None))
    return 0


def find(profile: Profile, server_id: str) -> Server:
    """The server with this id. Raises `ServingError` when there is none, or when it is somebody else's."""
    local = {server.id: server for server in profile.servers if server.is_local}
    if server_id not in local:
        known = ", ".join(local) or "none: each has a base_url"
        raise ServingError(f"profile {profile.id!r} has no server {server_id!r} to start here; it has {known}")
    return local[server_id]


if __name__ == "__main__":
    sys.exit(main())

"""``poruwa reload`` and ``poruwa upgrade``: a running gateway's workers replaced, nothing lost."""

from __future__ import annotations

from poruwa.cli.target import AdminAddress, AsJson, StateFolder, command

# Workers start within `stack.workers.READY_SECONDS`, and one reload may wait for another.
_TIMEOUT_SECONDS = 120.0


def reload(state: StateFolder = None, admin: AdminAddress = None, as_json: AsJson = False) -> None:
    """Serve by the policy file as it is now, or refuse it whole and go on as before."""
    command(
        "reload", {}, state=state, admin=admin, as_json=as_json, timeout_seconds=_TIMEOUT_SECONDS
    )


def upgrade(state: StateFolder = None, admin: AdminAddress = None, as_json: AsJson = False) -> None:
    """Serve with the code as it is installed now, by the policy in force."""
    command(
        "upgrade", {}, state=state, admin=admin, as_json=as_json, timeout_seconds=_TIMEOUT_SECONDS
    )

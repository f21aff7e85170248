"""What a gateway worker loads before it knows its policy."""

from __future__ import annotations

import subprocess
import sys


def test_the_client_of_a_bus_is_not_loaded_before_there_is_one() -> None:
    """It is a sixth of a worker's modules, and many gateways have no bus."""
    program = "import sys, poruwa.gateway.worker; sys.exit('redis' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)

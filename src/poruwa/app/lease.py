"""``Lease``: an instance lent for one piece of work, and the word of what came of it."""

from __future__ import annotations

from types import TracebackType

from poruwa.app.instance import Instance
from poruwa.app.instance_pool import InstancePool

_DETAIL_CHARACTERS = 200  # of a failure's text: a status view is not a log of bodies


class Lease:
    """An instance for one piece of work, from ``LoadBalancer.lease``.

    Counts as in flight until closed. As a context manager it closes at the end of the block, which
    is a good answer if nothing else was reported; an exception is a failure of the instance.
    Being cancelled is neither, so put a time-out inside the block, where its end is an exception.
    """

    __slots__ = ("_has_failed", "_has_succeeded", "_instance", "_is_probe", "_pool", "_started_at")

    def __init__(self, pool: InstancePool, instance: Instance) -> None:
        self._pool: InstancePool | None = pool
        self._instance = instance
        self._started_at = pool.now()
        self._has_succeeded = self._has_failed = False
        self._is_probe = pool.is_probing(instance)
        instance.in_flight += 1
        instance.probes += self._is_probe

    @property
    def instance(self) -> str:
        """The instance, as given to the balancer."""
        return self._instance.name

    @property
    def is_open(self) -> bool:
        """Whether it still counts as in flight."""
        return self._pool is not None

    def succeeded(self) -> None:
        """Report a good answer, now: the time since the lease began is the instance's latency.

        Call it at the first byte of a long answer. Does nothing if an outcome was reported.
        """
        if self._pool is not None and not self._has_succeeded and not self._has_failed:
            self._has_succeeded = True
            self._pool.succeeded(self._instance, self._pool.now() - self._started_at)

    def failed(self, detail: str = "") -> None:
        """Report that the instance failed; ``detail`` says how, for ``status()`` and the log.

        Also after ``succeeded``, for an answer that breaks off. Only the first call counts.
        """
        if self._pool is not None and not self._has_failed:
            self._has_failed = True
            self._pool.failed(self._instance, detail[:_DETAIL_CHARACTERS])

    def close(self) -> None:
        """Give the instance back, with no word of what came of it but what was reported."""
        if self._pool is not None:
            self._pool = None
            self._instance.in_flight -= 1
            self._instance.probes -= self._is_probe

    def __enter__(self) -> Lease:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None:
            self.succeeded()
        elif issubclass(kind, Exception):
            self.failed(f"{kind.__name__}: {error}")
        self.close()

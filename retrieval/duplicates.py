"""Near-duplicates: the same figure in several corpora, panels under one caption, one picture under two ids.

    found = find_duplicates(Shards(Path("data/index/parquet")))
    found.group["PMC1/g2"], found.also["PMC1/g1"]

Two figures belong together if their captions in one article are the same but for case and punctuation, or if their
perceptual hashes differ in at most `MAX_BITS` of 256 bits; what belongs to one belongs to all of its group.
"""

import hashlib
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from retrieval.figures import Figure
from retrieval.store_shards import Shards

MAX_BITS = 15
"""Also the most that `near_pairs` can find: 16 words of which one must be equal."""

_COLUMNS = ["figure_id", "source", "pmcid", "caption", "caption_by", "image_hash"]
_WORDS = 16


@dataclass(frozen=True)
class Duplicates:
    """What a search has to know of figures that are there more than once.

    `shard`: which shard's row counts, of figures with several rows. `also`: the same figure from other corpora.
    `group`: the smallest figure id of the group, of figures that have near-duplicates.
    """

    shard: dict[str, str] = field(default_factory=dict)
    also: dict[str, tuple[Figure, ...]] = field(default_factory=dict)
    group: dict[str, str] = field(default_factory=dict)


def find_duplicates(shards: Shards) -> Duplicates:
    """Reads no vectors; about 120 bytes a figure are in memory."""
    ids, captions, hashes, rows = [], [], [], []
    for path in shards.paths():
        table = shards.read(path, _COLUMNS)
        ids.append(table["figure_id"].combine_chunks())
        columns = table.drop_columns(["figure_id"]).to_pylist()
        captions += [_caption_key(row) for row in columns]
        hashes += [_hash_words(row.get("image_hash")) for row in columns]
        rows.append((path.name, len(columns)))
    if not ids:
        return Duplicates()
    coded = pa.chunked_array(ids).combine_chunks().dictionary_encode()
    node, names = coded.indices.to_numpy(), coded.dictionary
    shard, also = _same_id(shards, names, node, rows)
    edges = np.concatenate(
        [
            _equal_pairs(np.array(captions, np.uint64)),
            near_pairs(np.array(hashes, np.uint16).reshape(-1, _WORDS), MAX_BITS),
        ]
    )
    return Duplicates(shard, also, _groups(names, node[edges]))


def near_pairs(hashes: NDArray[np.uint16], limit: int) -> NDArray[np.int64]:
    """Pairs of rows whose hashes differ in at most `limit` bits, int64 [m, 2]; rows of zeros have no hash.

    Of 16 words that differ in at most 15 bits together one is equal, so only rows that share a word are compared:
    exact, and far from quadratic. Of equal hashes a chain of pairs is given, not all pairs.

    Args:
        hashes: [n, 16], a hash of 256 bits a row.
        limit: below the number of words.
    """
    if limit >= _WORDS:
        raise ValueError(f"at most {_WORDS - 1} bits, not {limit}")
    there = np.flatnonzero(hashes.any(axis=1))
    if len(there) < 2:
        return np.zeros((0, 2), np.int64)
    distinct, first, which = np.unique(hashes[there], axis=0, return_index=True, return_inverse=True)
    pairs = [np.stack([there[first[which]], there], axis=1)]
    for word in range(_WORDS):
        order = np.argsort(distinct[:, word], kind="stable")
        value = distinct[order, word]
        left = np.arange(len(order))
        step = 1
        # Rows with one value stand side by side: first neighbours, then the next but one, as far as a value reaches.
        while len(left := left[left + step < len(order)]) and len(left := left[value[left] == value[left + step]]):
            a, b = order[left], order[left + step]
            differing = np.bitwise_count(distinct[a] ^ distinct[b]).sum(axis=1, dtype=np.int32)
            near = differing <= limit
            pairs.append(np.stack([there[first[a[near]]], there[first[b[near]]]], axis=1))
            step += 1
    found = np.concatenate(pairs)
    return found[found[:, 0] != found[:, 1]]


def _caption_key(row: dict[str, Any]) -> int:
    """Equal for equal captions of one article; 0 for a figure of no article or without words."""
    words = "".join(letter for letter in row["caption"].casefold() if letter.isalnum())
    if not row["pmcid"] or not words:
        return 0
    return int.from_bytes(hashlib.blake2b(f"{row['pmcid']} {words}".encode(), digest_size=8).digest(), "big")


def _hash_words(value: str | None) -> NDArray[np.uint16]:
    return np.frombuffer(bytes.fromhex(value), np.uint16) if value else np.zeros(_WORDS, np.uint16)


def _equal_pairs(keys: NDArray[np.uint64]) -> NDArray[np.int64]:
    order = np.argsort(keys, kind="stable")
    same = (keys[order[1:]] == keys[order[:-1]]) & (keys[order[1:]] != 0)
    return np.stack([order[:-1][same], order[1:][same]], axis=1)


def _groups(names: pa.Array, edges: NDArray[np.int64]) -> dict[str, str]:
    size = len(names)
    graph = coo_array((np.ones(len(edges), np.int8), (edges[:, 0], edges[:, 1])), shape=(size, size))
    _, label = connected_components(graph, directed=False)
    members: dict[int, list[str]] = defaultdict(list)
    for number in np.flatnonzero(np.bincount(label)[label] > 1):
        members[int(label[number])].append(names[int(number)].as_py())
    return {figure_id: min(group) for group in members.values() for figure_id in group}


def _same_id(
    shards: Shards, names: pa.Array, node: NDArray[np.int32], rows: list[tuple[str, int]]
) -> tuple[dict[str, str], dict[str, tuple[Figure, ...]]]:
    """Which shard's row counts of figures that are stored several times, and the rows of other corpora."""
    repeated = np.bincount(node)[node] > 1
    found: dict[str, list[tuple[tuple[bool, bool, int], str, Figure]]] = defaultdict(list)
    start = 0
    for number, (name, count) in enumerate(rows):
        here = {names[int(i)].as_py() for i in node[start : start + count][repeated[start : start + count]]}
        start += count
        for part in shards.rows(shards.folder / name) if here else ():
            for figure, seen in zip(part.figures, part.has_image, strict=True):
                if figure.figure_id in here:
                    # The article's own words go first, then a row with an image, then the newer one.
                    found[figure.figure_id].append(((figure.caption_by == "article", bool(seen), number), name, figure))
    shard, also = {}, {}
    for figure_id, versions in found.items():
        versions.sort(key=lambda version: version[0], reverse=True)
        _, shard[figure_id], best = versions[0]
        others = {figure.source: figure for _, _, figure in reversed(versions) if figure.source != best.source}
        if others:
            also[figure_id] = tuple(others[source] for source in sorted(others))
    return shard, also

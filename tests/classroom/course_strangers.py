"""What other people hand in for the last three assignments: two who are right and three who are not, for each.

They write as they like: with lists, complex numbers, loops over rows. Each wrong one has the name of the catalogue that
is fair for it; "" where the catalogue has none, and only the mark can tell.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Stranger:
    """What stands in the cells of somebody, and what is wrong with it: the name of a function, and of its mistake."""

    cells: dict[str, str]
    wrong: str = ""
    fair: frozenset[str] = frozenset()


LIST_OF_CALLS = """
class KVCache:
    def __init__(self):
        self.past = []

    def append(self, k, v):
        self.past.append((k, v))
        ks, vs = zip(*self.past)
        return torch.cat(ks, -2), torch.cat(vs, -2)

    def __len__(self):
        return sum(k.size(-2) for k, _ in self.past)

    def mask(self, T_new):
        return torch.ones(T_new, len(self) + T_new, dtype=torch.bool).tril(len(self))

    def trim(self, length):
        if self.past:
            ks, vs = zip(*self.past)
            self.past = [tuple(torch.cat(x, -2).narrow(-2, 0, length) for x in (ks, vs))]

    def reorder(self, items):
        self.past = [(k.index_select(0, items), v.index_select(0, items)) for k, v in self.past]
"""

ROW_BY_ROW = """
class KVCache:
    # one entry of the list for each position
    def __init__(self):
        self.keys, self.values = [], []

    def append(self, k, v):
        self.keys += k.unbind(-2)
        self.values += v.unbind(-2)
        return torch.stack(self.keys, -2), torch.stack(self.values, -2)

    def __len__(self):
        return len(self.keys)

    def mask(self, T_new):
        n = len(self.keys)
        return torch.tensor([[j <= n + i for j in range(n + T_new)] for i in range(T_new)], dtype=torch.bool)

    def trim(self, length):
        del self.keys[length:], self.values[length:]

    def reorder(self, items):
        self.keys = [row[items] for row in self.keys]
        self.values = [row[items] for row in self.values]
"""

TRIMS_WHOLE_CALLS = LIST_OF_CALLS.replace(
    """        if self.past:
            ks, vs = zip(*self.past)
            self.past = [tuple(torch.cat(x, -2).narrow(-2, 0, length) for x in (ks, vs))]
""",
    """        while len(self) > length:
            self.past.pop()
""",
)

FIRST_ROW_SEES_ONE_KEY = ROW_BY_ROW.replace("j <= n + i", "j <= i")

JOINED_ON_AXIS_1 = """
class KVCache:
    def __init__(self):
        self.kv = None

    def append(self, k, v):
        if self.kv is None:
            self.kv = (k, v)
        else:
            self.kv = (torch.cat((self.kv[0], k), 1), torch.cat((self.kv[1], v), 1))
        return self.kv

    def __len__(self):
        return 0 if self.kv is None else self.kv[0].shape[-2]

    def mask(self, T_new):
        n = len(self)
        past = torch.ones(T_new, n, dtype=torch.bool)
        return torch.cat((past, torch.ones(T_new, T_new, dtype=torch.bool).tril()), 1)

    def trim(self, length):
        if self.kv is not None:
            self.kv = tuple(x[..., :length, :] for x in self.kv)

    def reorder(self, items):
        if self.kv is not None:
            self.kv = tuple(x[items] for x in self.kv)
"""

REPEATED_KEYS = """
def grouped_query_attention(q, k, v, mask=None, num_heads=1, num_kv_heads=1):
    share = num_heads // num_kv_heads
    Q = q.unflatten(-1, (num_heads, -1)).transpose(-2, -3)
    K = k.unflatten(-1, (num_kv_heads, -1)).transpose(-2, -3).repeat_interleave(share, dim=-3)
    V = v.unflatten(-1, (num_kv_heads, -1)).transpose(-2, -3).repeat_interleave(share, dim=-3)
    S = torch.einsum("...qd,...kd->...qk", Q, K) * Q.size(-1) ** -0.5
    if mask is None:
        A = S.softmax(-1)
    else:
        A = torch.where(mask, S, torch.full_like(S, torch.finfo(S.dtype).min)).softmax(-1) * mask
    return (A @ V).transpose(-2, -3).flatten(-2), A
"""

GROUP_BY_GROUP = """
def grouped_query_attention(q, k, v, mask=None, num_heads=1, num_kv_heads=1):
    d = q.shape[-1] // num_heads
    r = num_heads // num_kv_heads
    full = (*q.shape[:-2], num_heads, q.shape[-2], k.shape[-2])
    allowed = torch.ones(full, dtype=torch.bool) if mask is None else mask.expand(full)
    outs, maps = [], []
    for h in range(num_heads):
        g = h // r
        mine = slice(h * d, (h + 1) * d)
        theirs = slice(g * d, (g + 1) * d)
        s = q[..., mine] @ k[..., theirs].mT / math.sqrt(d)
        ok = allowed[..., h, :, :]
        big = s.masked_fill(~ok, -1e30).amax(-1, keepdim=True)
        e = (s - big).clamp(max=0).exp() * ok
        total = e.sum(-1, keepdim=True)
        p = e / (total + (total == 0))
        maps.append(p)
        outs.append(p @ v[..., theirs])
    return torch.cat(outs, -1), torch.stack(maps, -3)
"""

COMPLEX_NUMBERS = """
def apply_rotary(x, positions, *, base=10_000.0):
    half = x.shape[-1] // 2
    freq = base ** -(torch.arange(half, dtype=torch.float64) / half)
    angle = positions.unsqueeze(-1).double() * freq
    z = torch.complex(x[..., :half].double(), x[..., half:].double())
    z = z * torch.polar(torch.ones_like(angle), angle)
    return torch.cat([z.real, z.imag], -1).to(x.dtype)
"""

ROTATE_HALF = """
def rotate_half(x):
    a, b = x[..., : x.shape[-1] // 2], x[..., x.shape[-1] // 2 :]
    return torch.cat((-b, a), dim=-1)

def apply_rotary(x, positions, *, base=10_000.0):
    d = x.shape[-1]
    inv_freq = 1.0 / (base ** (torch.arange(0, d, 2).double() / d))
    freqs = positions.double()[..., None] * inv_freq
    emb = torch.cat((freqs, freqs), dim=-1)
    return x * emb.cos().to(x.dtype) + rotate_half(x) * emb.sin().to(x.dtype)
"""

KEYS_0_1_0_1 = """
def expand_kv(x, groups, share):
    x = x.unflatten(-1, (groups, -1)).transpose(-2, -3)
    x = x.unsqueeze(-4).expand(*x.shape[:-3], share, *x.shape[-3:])
    return x.flatten(-4, -3)

def grouped_query_attention(q, k, v, mask=None, num_heads=1, num_kv_heads=1):
    share = num_heads // num_kv_heads
    q = q.unflatten(-1, (num_heads, -1)).transpose(-2, -3)
    k, v = expand_kv(k, num_kv_heads, share), expand_kv(v, num_kv_heads, share)
    att = q @ k.mT / math.sqrt(q.shape[-1])
    if mask is not None:
        att = att.masked_fill(~mask, torch.finfo(att.dtype).min)
    att = att.softmax(-1)
    if mask is not None:
        att = att * mask
    return (att @ v).transpose(-2, -3).flatten(-2), att
"""

SIGN_ON_THE_OTHER_HALF = ROTATE_HALF.replace("(-b, a)", "(b, -a)")

SCALED_BY_THE_GROUP = GROUP_BY_GROUP.replace("math.sqrt(d)", "math.sqrt(q.shape[-1] // num_kv_heads)")

NEIGHBOURS = """
def apply_rotary(x, positions, *, base=10_000.0):
    d = x.shape[-1]
    theta = base ** (-2 * torch.arange(d // 2, dtype=torch.float64) / d)
    angle = positions[..., None] * theta
    z = torch.view_as_complex(x.double().unflatten(-1, (d // 2, 2)).contiguous())
    z = z * torch.exp(1j * angle)
    return torch.view_as_real(z).flatten(-2).to(x.dtype)
"""

ROW_OF_NUMBERS = """
def sampling_probabilities(logits, *, temperature=1.0, top_k=None, top_p=None):
    rows = []
    for row in logits.reshape(-1, logits.shape[-1]):
        numbers = range(len(row))
        best_first = sorted(numbers, key=lambda i: (-row[i].item(), i))
        out = torch.zeros_like(row)
        if temperature == 0:
            out[best_first[0]] = 1.0
            rows.append(out)
            continue
        stay = best_first if top_k is None else best_first[:top_k]
        p = torch.softmax(row[stay] / temperature, 0)
        if top_p is not None:
            reached, n = 0.0, 0
            while n < len(stay) and reached < top_p:
                reached += p[n].item()
                n += 1
            stay, p = stay[:n], p[:n] / p[:n].sum()
        out[stay] = p
        rows.append(out)
    return torch.stack(rows).reshape(logits.shape)
"""

RANKS = """
def sampling_probabilities(logits, *, temperature=1.0, top_k=None, top_p=None):
    order = torch.argsort(logits, dim=-1, descending=True, stable=True)
    rank = order.argsort(-1)
    if temperature == 0:
        return (rank == 0).to(logits.dtype)
    lp = torch.log_softmax(logits / temperature, -1)
    if top_k is not None:
        lp = lp.masked_fill(rank >= top_k, float("-inf")).log_softmax(-1)
    p = lp.exp()
    if top_p is not None:
        cum = p.gather(-1, order).cumsum(-1)
        wanted = (cum < top_p).sum(-1, keepdim=True) + 1
        p = p * (rank < wanted)
        p = p / p.sum(-1, keepdim=True)
    return p
"""

WITHOUT_THE_ONE_THAT_REACHES_IT = RANKS.replace(
    "wanted = (cum < top_p).sum(-1, keepdim=True) + 1",
    "wanted = (cum <= top_p).sum(-1, keepdim=True).clamp(min=1)",
)

TOP_K_OF_PROBABILITIES = """
def sampling_probabilities(logits, *, temperature=1.0, top_k=None, top_p=None):
    if temperature == 0:
        return torch.nn.functional.one_hot(logits.argmax(-1), logits.shape[-1]).to(logits.dtype)
    p = (logits / temperature).softmax(-1)
    s, i = p.sort(dim=-1, descending=True, stable=True)
    if top_k is not None:
        s = torch.where(torch.arange(s.shape[-1]) < top_k, s, 0.0)
    if top_p is not None:
        s = s / s.sum(-1, keepdim=True)
        s = torch.where(s.cumsum(-1) - s < top_p, s, 0.0)
        s = s / s.sum(-1, keepdim=True)
    return torch.zeros_like(p).scatter(-1, i, s)
"""

REMOVED_IN_SORTED_ORDER = """
def sampling_probabilities(logits, *, temperature=1.0, top_k=None, top_p=None):
    if temperature == 0:
        return torch.nn.functional.one_hot(logits.argmax(-1), logits.shape[-1]).to(logits.dtype)
    logits = logits / temperature
    if top_k is not None:
        keep = logits.sort(dim=-1, descending=True, stable=True)[1][..., :top_k]
        blocked = torch.full_like(logits, float("-inf")).scatter(-1, keep, 0.0)
        logits = logits + blocked
    if top_p is not None:
        ordered, _ = logits.sort(dim=-1, descending=True)
        remove = ordered.softmax(-1).cumsum(-1) > top_p
        remove[..., 1:] = remove[..., :-1].clone()
        remove[..., 0] = False
        logits = logits.masked_fill(remove, float("-inf"))
    return logits.softmax(-1)
"""

#: Assignment to student to what is handed in.
COURSE_STRANGERS: dict[str, dict[str, Stranger]] = {
    "9_cache": {
        "list_of_calls": Stranger({"function": LIST_OF_CALLS}),
        "row_by_row": Stranger({"function": ROW_BY_ROW}),
        "trims_whole_calls": Stranger({"function": TRIMS_WHOLE_CALLS}, "KVCache"),
        "first_row_sees_one_key": Stranger(
            {"function": FIRST_ROW_SEES_ONE_KEY}, "KVCache", frozenset({"mask_from_the_top_left"})
        ),
        "joined_on_axis_1": Stranger(
            {"function": JOINED_ON_AXIS_1}, "KVCache", frozenset({"cache_joined_on_the_head_axis"})
        ),
    },
    "10_shared_keys": {
        "repeated_keys": Stranger({"function": REPEATED_KEYS, "rotary": COMPLEX_NUMBERS}),
        "group_by_group": Stranger({"function": GROUP_BY_GROUP, "rotary": ROTATE_HALF}),
        "keys_0_1_0_1": Stranger(
            {"function": KEYS_0_1_0_1, "rotary": COMPLEX_NUMBERS},
            "grouped_query_attention",
            frozenset({"repeat_for_repeat_interleave"}),
        ),
        "sign_on_the_other_half": Stranger(
            {"function": REPEATED_KEYS, "rotary": SIGN_ON_THE_OTHER_HALF},
            "apply_rotary",
            frozenset({"rotary_turned_backwards"}),
        ),
        "neighbours_and_a_scale": Stranger(
            {"function": SCALED_BY_THE_GROUP, "rotary": NEIGHBOURS},
            "apply_rotary",
            frozenset({"rotary_pairs_interleaved"}),
        ),
    },
    "11_sampling": {
        "row_of_numbers": Stranger({"function": ROW_OF_NUMBERS}),
        "ranks": Stranger({"function": RANKS}),
        "without_the_one_that_reaches_it": Stranger(
            {"function": WITHOUT_THE_ONE_THAT_REACHES_IT},
            "sampling_probabilities",
            frozenset({"top_p_leaves_the_last_one_out"}),
        ),
        "top_k_of_probabilities": Stranger(
            {"function": TOP_K_OF_PROBABILITIES},
            "sampling_probabilities",
            frozenset({"top_k_without_renormalising"}),
        ),
        "removed_in_sorted_order": Stranger({"function": REMOVED_IN_SORTED_ORDER}, "sampling_probabilities"),
    },
}

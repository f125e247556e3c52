"""Topic 7: models of four sizes: parameters, and bytes as they really are in memory."""

from litegpt import GPTModel

# vocab_size, max_seq_len, num_layers, num_heads, hidden_dim, ffn_dim
SIZES = {
    "Tiny": (100, 32, 2, 2, 32, 64),
    "Small": (500, 64, 4, 4, 64, 256),
    "Medium": (1000, 128, 6, 6, 192, 768),
    "Large": (5000, 256, 12, 8, 256, 1024),
}

print("              parameters    float32         q8         q5         q4       q4_0   (bytes)")
for name, sizes in SIZES.items():
    held = []
    for dtype in (None, "q8", "q5", "q4", "q4_0"):
        model = GPTModel(*sizes, dropout=0.0, seed=0)
        if dtype:
            model.quantize(dtype)  # for inference: one copy, packed
        held.append(model.nbytes)
    print(f"{name:<10}{model.get_num_parameters():>14,}" + "".join(f"{n:>11,}" for n in held))

v, t, layers, _, c, f = SIZES["Medium"]
print("\nwhere Medium has them:")
for part, count in {
    "token embedding V C": v * c,
    "positions T C": t * c,
    "attention L 4 C^2": layers * 4 * c * c,
    "feed-forward L (2 C F + F + C)": layers * (2 * c * f + f + c),
    "norms L 4 C + 2 C": layers * 4 * c + 2 * c,
    "head C V": c * v,
}.items():
    print(f"  {part:<32}{count:>10,}")

model = GPTModel(*SIZES["Medium"], dropout=0.0, seed=0)
plain = model.nbytes
model.loss_and_backward([[1, 2, 3]], [[2, 3, 4]])
print(f"\nMedium with gradients, once training has begun: {model.nbytes:,} bytes, not {plain:,}")
cache = model.new_cache(batch=1)
print(f"its cache of keys and values, for {model.max_seq_len} positions: {cache.nbytes:,} bytes")

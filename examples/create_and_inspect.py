"""Topic 1: a model is made, and looked at: its parts, their sizes, what they take in memory."""

from litegpt import GPTModel

model = GPTModel(
    vocab_size=500, max_seq_len=64, num_layers=4, num_heads=4, hidden_dim=64, ffn_dim=256, seed=0
)
print(f"{model.num_layers} blocks of {model.num_heads} heads, {model.hidden_dim} wide")
print(f"{model.get_num_parameters():,} parameters, {model.nbytes:,} bytes in memory\n")

print("one block and what stands around it:")
for name, parameter in model.named_parameters():
    if ".1." in name or ".2." in name or ".3." in name:
        continue  # blocks like the first
    print(f"  {name:<34}{parameter.shape!s:>12}{parameter.size:>9,}")

block = model.blocks[0]
print("\nparts are ordinary objects:", type(block.attention).__name__, type(block.ffn).__name__)
print("and their arrays are NumPy's:", block.ln1.gamma[:4])

gpt2 = GPTModel(500, 64, 4, 4, 64, bias=True, tie_embeddings=True)
llama = GPTModel(
    500, 64, 4, 4, 64, ffn_dim=172, num_kv_heads=2,
    norm="rmsnorm", position="rotary", activation="swiglu", bias=False,
)  # fmt: skip
print("\nthe same class with other parts:")
for name, other in {"as above": model, "GPT-2": gpt2, "Llama": llama}.items():
    config = other.config
    parts = f"{config.norm}, {config.position}, {config.activation}"
    print(f"  {name:<9}{other.get_num_parameters():>9,} parameters  {parts}")

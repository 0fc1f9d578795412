#!/bin/sh
# Question  How does tree-sitter-c read a cast to a type that is only a name, `(PVOID)(buffer)` and `(PVOID)&buffer`?
# Guess     As cast_expression, or as ERROR where the grammar cannot tell: `(PVOID)buffer` is a cast in its tree.
# Version   tree-sitter 0.25.2 with tree-sitter-c 0.24.2 (PyPI).
# Behaviour `(PVOID)(buffer)` is a call_expression whose function is `(PVOID)`; `(PVOID)&buffer` is a binary_expression,
#           PVOID and buffer joined by "and". No error node in either.
# Seen      see the output.
# Hurts     Driver sources are full of both. Who looks for calls sees routines named PVOID and ULONG_PTR; who reads
#           arguments sees `(PUCHAR)&header` as a bit mask and gets a value that the code never computes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" -q install tree-sitter==0.25.2 tree-sitter-c==0.24.2
"$folder/venv/bin/python" - <<'PYTHON'
import tree_sitter
import tree_sitter_c

parser = tree_sitter.Parser(tree_sitter.Language(tree_sitter_c.language()))
seen = {}
for text in ("(PVOID)buffer", "(PVOID)(buffer)", "(PVOID)&buffer"):
    root = parser.parse(f"void f(void) {{ x = {text}; }}".encode()).root_node
    work, right = [root], None
    while work:
        node = work.pop()
        if node.type == "assignment_expression":
            right = node.child_by_field_name("right")
        work += node.children
    seen[text] = right.type, root.has_error
    print(text, *seen[text])
assert seen == {
    "(PVOID)buffer": ("cast_expression", False),
    "(PVOID)(buffer)": ("call_expression", False),
    "(PVOID)&buffer": ("binary_expression", False),
}, "the behaviour has changed"
PYTHON

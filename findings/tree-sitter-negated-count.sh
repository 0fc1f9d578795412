#!/bin/sh
# Question  What does tree-sitter-c say that `!k++` counts up, as in `if (!opened++) pool = NonPagedPoolNx;`?
# Guess     The variable `k`: C binds the postfix operator first, so the tree is a negation of `k++`.
# Version   tree-sitter 0.26.1 with tree-sitter-c 0.24.2 and tree-sitter-cpp 0.23.4 (PyPI).
# Behaviour `!k++`, `-k++`, `~k++` and `!k--` are an update_expression whose argument is the unary_expression, that is
#           `(!k)++`, which no C compiler accepts. `*k++`, `&k++`, `(T)k++`, `!++k` and `!(k++)` are as C has them. No
#           error node anywhere.
# Seen      see the output.
# Hurts     "Only the first time" is written `if (!count++)` in driver sources. Who asks an update_expression which
#           variable it changes finds none, keeps the count at its first value, and takes what is done once to be done
#           at every call; who asks the `if` for a negation finds none and takes the wrong branch.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" -q install tree-sitter==0.26.1 tree-sitter-c==0.24.2 tree-sitter-cpp==0.23.4
"$folder/venv/bin/python" - <<'PYTHON'
import tree_sitter
import tree_sitter_c
import tree_sitter_cpp


def right_side(language, text):
    root = tree_sitter.Parser(language).parse(f"void f(void) {{ x = {text}; }}".encode()).root_node
    assert not root.has_error
    work = [root]
    while work:
        node = work.pop()
        if node.type == "assignment_expression":
            return str(node.child_by_field_name("right"))
        work += node.children


NEGATION_COUNTED = "(update_expression argument: (unary_expression argument: (identifier)))"
for name, module in (("C", tree_sitter_c), ("C++", tree_sitter_cpp)):
    language = tree_sitter.Language(module.language())
    for text in ("!k++", "-k++", "~k++", "!k--"):
        print(name, text, right_side(language, text))
        assert right_side(language, text) == NEGATION_COUNTED, "the behaviour has changed"
    for text, outer in (
        ("*k++", "(pointer_expression"),
        ("&k++", "(pointer_expression"),
        ("(int)k++", "(cast_expression"),
        ("!++k", "(unary_expression"),
        ("!(k++)", "(unary_expression"),
    ):
        print(name, text, right_side(language, text))
        assert right_side(language, text).startswith(outer), "the behaviour has changed"
PYTHON

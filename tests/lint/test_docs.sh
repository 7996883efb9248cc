#!/bin/sh
# The generated documents are what the program prints, and tools/docs.sh sees one that is not.
. tests/lint/lint.sh
program=$1/lockstep
passes "the documents of the repository" tools/docs.sh --check "$program"
put docs/errors.md <docs/errors.md
put docs/configuration.md <docs/configuration.md
passes "a copy of them" tools/docs.sh --check "$program" "$tree"
sed 's/| 4 | bad data |/| 5 | bad data |/' docs/errors.md | put docs/errors.md
catches "a wrong row" "docs/errors.md; run make docs" tools/docs.sh --check "$program" "$tree"
passes "writing them" tools/docs.sh "$program" "$tree"
passes "what was written" tools/docs.sh --check "$program" "$tree"
cmp docs/errors.md "$tree/docs/errors.md"
done_well

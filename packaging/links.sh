#!/bin/sh
# Makes the links in the documents of a release hold: links.sh FOLDER. The documents in FOLDER have
# the paths of the repository, except that the folders of packaging/ are in FOLDER itself. A link to
# a file that is not part of the release becomes its text.
set -eu
export LC_ALL=C

[ $# -eq 1 ] || {
	printf 'links.sh: usage: links.sh FOLDER\n' >&2
	exit 1
}
cd "$1"
find . -name '*.md' -exec sed -Ei 's#\]\(((\.\./)*)packaging/(ansible|completions|monitoring)#](\1\3#g' {} +
if [ -e ansible ]; then
	find ansible -name '*.md' -exec sed -i 's#](\(\(\.\./\)*\)\.\./docs/#](\1docs/#g' {} +
fi

find . -name '*.md' | while read -r file; do
	grep -oE '\]\([^)#: ]+' "$file" | cut -c 3- | sort -u | while read -r target; do
		[ ! -e "${file%/*}/$target" ] || continue
		literal=$(printf '%s' "$target" | sed 's/[.+*]/\\&/g')
		# -z, as the text of a link may have a line break.
		sed -Ezi "s|!?\[([^][]*)\]\($literal(#[^)]*)?\)|\1|g" "$file"
	done
done

#!/usr/bin/env bash
# The documentation: Doxygen builds it without a warning, the public headers' texts are in it, links lead somewhere, and
# what the pages name in a file stands in that file.
source "$(dirname "${BASH_SOURCE[0]}")/tally.sh"

command -v doxygen >/dev/null || { skip "doxygen is not here"; exit 0; }

# build INPUT OUTPUT: Doxygen with our settings; any warning is a failure.
build() {
  mkdir -p "$2"
  printf 'INPUT = %s\nOUTPUT_DIRECTORY = %s\n' "$1" "$2" | cat docs/doxygen/Doxyfile - | doxygen - || return 1
}

input=$(sed -n 's/^INPUT *= *//p' docs/doxygen/Doxyfile)
check "Doxygen has no warning" build "$input" "$scratch/docs"

# --- texts ---------------------------------------------------------------------------------------------------------

# text_of FOLDER NAME: the texts of a function, type or member in Doxygen's XML, one after the other, without markup.
text_of() {
  awk -v name="$2" '
    /<compounddef / { class = "" }
    /<compoundname>/ && class == "" {
      class = $0; gsub(/.*<compoundname>|<\/compoundname>.*/, "", class)
      of_class = class == name
    }
    /<memberdef / { member = 1; found = 0 }
    /<name>/ { m = $0; gsub(/.*<name>|<\/name>.*/, "", m); if (member && class "::" m == name) found = 1 }
    (found || (of_class && !member)) && /<para>|^<\/para>|text|<verbatim>/ { gsub(/<[^>]*>/, ""); print }
    /<\/memberdef>/ { member = found = 0 }' "$1"/*.xml
}

# says NAME PHRASE: the text of NAME holds the phrase.
says() {
  grep -qF "$2" <(text_of "$scratch/docs/xml" "$1" | tr '\n' ' ') || { text_of "$scratch/docs/xml" "$1"; return 1; }
}
check "a member's text" says cuttle::BasicPatchSvdd::score "as its score the largest pixel of it"
check "a class's text" says cuttle::Tensor "A copy shares its memory with the original"
check "an op's text" says cuttle::gumbel_shrinkage "scores (R,M), 1 &lt;= M &lt;= 8192 -&gt; weights (R,M)"
check "a free function's text" says cuttle::nearest_patch "One search of a bank that is not kept"
check "a text behind a member" says cuttle::AnomalyMap::map "(H,W), the anomaly of each pixel"
check "a formula keeps its form" says cuttle::random_patch_pairs "  x = (pixel - mean) / 255 + colour_sigma * N(0,1)"
check_fails "a text that is not there is not found" says cuttle::BasicPatchSvdd::score "the smallest pixel"

# without_text XML-FOLDER: types, functions and aliases of the public headers that have no text. Members need none where
# the name says it all, constants often share one; the seam's small parts are documented together.
without_text() {
  awk '
    FNR == 1 { class = kind = "" }
    /<compounddef / { kind = $0; gsub(/.* kind="|".*/, "", kind); private = /prot="private"/; class = "" }
    /<compoundname>/ && class == "" { class = $0; gsub(/.*<compoundname>|<\/compoundname>.*/, "", class) }
    /<memberdef / { member = 1; m = ""; has = /kind="variable"/ }
    member && m == "" && /<name>/ { m = $0; gsub(/.*<name>|<\/name>.*/, "", m) }
    /<(brief|detailed)description>/ { inside = 1 }
    inside && /<para>/ { if (member) has = 1; else class_has = 1 }
    /<\/(brief|detailed)description>/ { inside = 0 }
    /<\/memberdef>/ {
      if (!has && kind == "namespace" && class !~ /^cuttle::seam/) print class "::" m
      member = has = 0
    }
    /<\/compounddef>/ {
      if (!class_has && !private && kind ~ /^(class|struct|concept)$/ && class !~ /^cuttle::seam/) print class
      class_has = 0
    }' "$1"/*.xml | sort -u
}
every_text() {
  local missing
  missing=$(without_text "$1")
  [[ -z $missing ]] || { printf '%s\n' "$missing"; return 1; }
}
check "everything public has a text" every_text "$scratch/docs/xml"

# --- links ---------------------------------------------------------------------------------------------------------

mapfile -t pages < <(find README.md docs -name '*.md' | sort)

# links PAGE: text, tab, target of each relative link outside of code blocks.
links() {
  awk '/^```/ { code = !code; next }
    !code { line = $0
      while (match(line, /\[[^]]*\]\([^)]*\)/)) {
        link = substr(line, RSTART + 1, RLENGTH - 2); line = substr(line, RSTART + RLENGTH)
        text = link; sub(/\]\(.*/, "", text); sub(/.*\]\(/, "", link)
        if (link !~ /^[a-z]+:/) print text "\t" link
      } }' "$1"
}

links_lead_somewhere() {
  local text target good=0
  while IFS=$'\t' read -r text target; do
    [[ -e $(dirname "$1")/$target ]] || { echo "$1: there is no $target"; good=1; }
  done < <(links "$1")
  return $good
}

# A link whose text is `FILE: NAME, NAME` says that the file has these names, in its code rather than a comment.
names_stand() {
  local text target file name good=0
  while IFS=$'\t' read -r text target; do
    [[ $text == \`*": "*\` ]] || continue
    text=${text//\`/}
    file=$(dirname "$1")/$target
    [[ $target == *"${text%%: *}" ]] || { echo "$1: \"$text\" leads to $target"; good=1; }
    for name in $(tr -c 'A-Za-z0-9_\n' ' ' <<<"${text#*: }"); do
      grep -qw -- "$name" <(sed 's|//.*||' "$file") || { echo "$1: $file has no $name"; good=1; }
    done
  done < <(links "$1")
  return $good
}

for page in "${pages[@]}"; do
  check "$page: links" links_lead_somewhere "$page"
  check "$page: names in files" names_stand "$page"
done

# Every page is in README.md's list.
listed() {
  local page good=0
  for page in docs/*.md; do
    grep -qF "$page" <(links README.md) || { echo "README.md has no link to $page"; good=1; }
  done
  return $good
}
check "README.md lists every page" listed

# --- the checks themselves -----------------------------------------------------------------------------------------

mkdir -p "$scratch/planted"
planted=$scratch/planted/page.md
printf '[a](no_such_file.md)\n' >"$planted"
check_fails "a link to nowhere is found" links_lead_somewhere "$planted"
cp include/cuttle/ops/conv2d.hpp "$scratch/planted/conv2d.hpp"
printf '[`conv2d.hpp: no_such_name`](conv2d.hpp)\n' >"$planted"
check_fails "a name that is not in the file is found" names_stand "$planted"
printf '[`conv2d.hpp: conv2d, Conv2dOptions`](conv2d.hpp)\n' >"$planted"
check "names that are there are found" names_stand "$planted"
printf '#pragma once\nnamespace cuttle {\nvoid bare();\n}\n' >"$scratch/planted/bare.hpp"
check "a header without texts builds" build "$scratch/planted/bare.hpp" "$scratch/bare"
check_fails "a function without a text is found" every_text "$scratch/bare/xml"
printf '# A page\n\nSee \\ref nothing_of_the_kind.\n' >"$planted"
check_fails "Doxygen's warnings are failures" build "$planted" "$scratch/warned"

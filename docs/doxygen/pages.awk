# Doxygen's input filter for pages, which are written for GitHub: $...$ and ```math become Doxygen's formulas, links to
# public headers lead to those headers' pages, and links to other files of the tree to the files, from out/docs/html.

# A path relative to the page's folder as one from the root of the tree.
function from_root(path) {
  path = folder path
  while (path ~ /[^\/.]+\/\.\.\//) sub(/[^\/.]+\/\.\.\//, "", path)
  return path
}

# The links of a line without code, rewritten.
function linked(text,   out, label, target, path) {
  out = ""
  while (match(text, /\[[^\]]*\]\([^)]*\)/)) {
    label = substr(text, RSTART, RLENGTH)
    target = label
    sub(/\].*/, "]", label)
    sub(/^[^\]]*\]\(/, "", target)
    sub(/\)$/, "", target)
    path = from_root(target)
    out = out substr(text, 1, RSTART - 1)
    if (target ~ /^[a-z]+:|\.png$/ || path ~ /^(README|docs\/[a-z_]+)\.md$/) out = out label "(" target ")"
    else if (path ~ /^include\/cuttle\/.*\.hpp$/ && path !~ /\/backend\/|\/stb\.hpp$/) {
      gsub(/`/, "", label)
      out = out label "(@ref " substr(path, 9) ")"
    }
    else out = out "<a href=\"../../../" path "\">" substr(label, 2, length(label) - 2) "</a>"
    text = substr(text, RSTART + RLENGTH)
  }
  return out text
}

function with_formulas(text,   parts, n, i, out) {
  n = split(text, parts, "$")
  if (n % 2 == 0) return text
  for (i = 1; i <= n; ++i) out = out (i > 1 ? "\\f$" : "") parts[i]
  return out
}

FNR == 1 {
  folder = FILENAME
  if (index(folder, ENVIRON["PWD"] "/") == 1) folder = substr(folder, length(ENVIRON["PWD"]) + 2)
  sub(/[^\/]*$/, "", folder)
}

/^```/ {
  if (fence) { print math ? "\\f]" : $0; fence = math = 0 }
  else { fence = 1; math = $0 ~ /^```math$/; print math ? "\\f[" : $0 }
  next
}
fence { print; next }
# The title, with a name for the page's file.
!titled && /^# / && folder == "docs/" {
  name = FILENAME
  sub(/.*\//, "", name)
  sub(/\.md$/, "", name)
  print $0 " {#" name "}"
  titled = 1
  next
}
{
  n = split(linked($0), parts, "`")
  out = ""
  for (i = 1; i <= n; ++i) out = out (i > 1 ? "`" : "") (i % 2 ? with_formulas(parts[i]) : parts[i])
  print out
}

# Doxygen's input filter for headers: gives their plain comments Doxygen's form. A block of // lines directly above a
# declaration becomes its text, one that opens a header becomes the file's, and // behind a member becomes the member's.
# Comments in bodies, above directives and before blank lines stay. Every line stays on its line.

# The line's code with strings and characters emptied. Sets column and comment: where a // stands, 0 for none, and what
# follows it.
function code_of(line,   i, c, n, out, quote) {
  comment = out = ""; column = 0; n = length(line)
  for (i = 1; i <= n; ++i) {
    c = substr(line, i, 1)
    if (c == "/" && substr(line, i + 1, 1) == "/") {
      column = i; comment = substr(line, i + 2)
      break
    }
    # An apostrophe after a digit separates it from the next.
    if (c == "\"" || (c == "'" && substr(line, i - 1, 1) !~ /[0-9a-fA-F]/)) {
      quote = c
      for (++i; i <= n && (c = substr(line, i, 1)) != quote; ++i) if (c == "\\") ++i
      c = quote quote
    }
    out = out c
  }
  sub(/[ \t]+$/, "", out)
  return out
}

# What a brace opens after this text: a "scope" or an "enum", in which comments document, or a "body".
function kind_of(text,   i, c, level) {
  sub(/^[ \t]+/, "", text)
  while (text ~ /^template[ \t]*</) {
    level = 0
    for (i = 1; i <= length(text); ++i) {
      c = substr(text, i, 1)
      if (c == "<") ++level
      if (c == ">" && --level == 0) break
    }
    text = substr(text, i + 1)
    sub(/^[ \t]+/, "", text)
  }
  if (text ~ /^enum[ \t]/) return "enum"
  if (text ~ /^(inline[ \t]+)?(namespace|class|struct|union|extern)([ \t]|$)/) return "scope"
  return "body"
}

# Follows braces, brackets and statements; `pending` is what the present statement has so far.
function follow(code,   i, c) {
  for (i = 1; i <= length(code); ++i) {
    c = substr(code, i, 1)
    if (c == "(") ++round
    if (c == ")") --round
    if (c == "{") { kind[++depth] = round ? "body" : kind_of(pending); pending = "" }
    else if (c == "}") { --depth; pending = "" }
    else if (c == ";") pending = ""
    else pending = pending c
  }
  pending = pending " "
  if (pending ~ /^[ \t]*((public|private|protected):)?[ \t]*$/) pending = ""
}

function documents() { return !round && (!depth || kind[depth] != "body") }

# Text in which Doxygen and Markdown see no markup but `code`.
function escaped(text,   parts, n, i, out) {
  n = split(text, parts, "`")
  for (i = 1; i <= n; ++i) {
    if (i % 2) {
      gsub(/[\\@<>#%*_~|"\[\]]/, "\\\\&", parts[i])
      gsub(/&/, "\\&amp;", parts[i])
    }
    out = out (i > 1 ? "`" : "") parts[i]
  }
  return out
}

# Prints the lines held back: as they are or, where `doc`, as Doxygen's, with the end left open for a file's. Lines that
# are set in, such as formulas, and tables of a word and its meaning keep their form.
function release(doc,   i, as_is, item, row, set_in, text) {
  for (i = 1; i <= held && doc; ++i) {
    row = texts[i] ~ /^ [A-Za-z_]+  +[^ ]/
    set_in = texts[i] ~ /^   /
    if (!set_in) item = texts[i] ~ /^ *(-|[0-9]+\.|[a-z_]+:) /
    as_is[i] = row || (set_in && (as_is[i - 1] || !item))
  }
  for (i = 1; i <= held; ++i) {
    if (!doc) { print lines[i]; continue }
    text = as_is[i] ? texts[i] : escaped(texts[i])
    if (as_is[i] && !as_is[i - 1]) text = " \\verbatim " text
    if (as_is[i] && (i == held || !as_is[i + 1])) text = text " \\endverbatim"
    printf "%s%s%s", i == 1 ? indent "/**" : "", text, i == held ? "" : "\n"
  }
  if (held && doc) printf "%s\n", file_text ? "" : " */"
  held = 0
}

/^[ \t]*#/ {
  if ($0 ~ /^#pragma once/ && !seen_code) {
    file_text = held
    release(1)
    $0 = (file_text ? "" : "/**") " \\file */"
    file_text = 0
  }
  release(0)
  print
  seen_code = 1
  next
}

{
  code = code_of($0)
  if (code ~ /^[ \t]*$/ && column) {
    if (!held && column == trailing) { print substr($0, 1, column - 1) "///<" escaped(comment); next }
    trailing = 0
    indent = substr($0, 1, column - 1)
    lines[++held] = $0; texts[held] = comment
    next
  }
  starts = documents() && (pending == "" || kind[depth] == "enum")
  release(starts && code ~ /^[ \t]*[A-Za-z_~\[]/ &&
          code !~ /^[ \t]*((public|private|protected):|static_assert|namespace)/)
  inside = documents()
  follow(code)
  trailing = 0
  if (code != "") seen_code = 1
  if (column && inside && documents() && (code ~ /;$/ || kind[depth] == "enum") && code !~ /^[ \t]*}/) {
    trailing = column
    print substr($0, 1, column - 1) "///<" escaped(comment)
  } else print
}

END { release(0) }

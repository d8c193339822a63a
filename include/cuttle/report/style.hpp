// How the report looks: one style sheet, no script. Light and dark follow the reader's system; blue and orange stay
// apart for colour-blind readers, and nothing is said by colour alone.
#pragma once

#include <string_view>

namespace cuttle::report {

inline constexpr std::string_view style = R"css(
:root{color-scheme:light dark;--page:#f5f6f8;--panel:#fff;--ink:#19222d;--soft:#586474;--line:#dde2e8;--grid:#e8ebf0;
--normal:#2166ac;--anomalous:#c2410c;--accent:#0b5fb0;--wash:#eef2f7;--normal-wash:#e3eefa;--anomalous-wash:#fdeadf;
--mask:#00d5e8;--shade:0 1px 2px #1a24301a,0 1px 8px #1a24300d}
@media (prefers-color-scheme:dark){:root{--page:#0e1319;--panel:#171e27;--ink:#e7ecf2;--soft:#9aa6b5;--line:#2a3441;
--grid:#242d38;--normal:#6fb1f5;--anomalous:#ff9a56;--accent:#7db9fb;--wash:#1f2833;--normal-wash:#17304a;
--anomalous-wash:#43260f;--shade:none}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--page);color:var(--ink);font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",
Arial,"Noto Sans",sans-serif;font-variant-numeric:tabular-nums;overflow-wrap:break-word}
main,header,footer{max-width:1320px;margin:0 auto;padding:0 24px}
header{padding-top:40px}
h1{font-size:clamp(1.6rem,1.2rem + 1.6vw,2.3rem);line-height:1.15;letter-spacing:-.02em;margin:0 0 .35em;font-weight:680}
h1 small{font-size:.6em;font-weight:450;letter-spacing:0;color:var(--soft)}
h2{font-size:1.2rem;letter-spacing:-.01em;margin:0 0 .25em;font-weight:650}
h3{font-size:.95rem;margin:0 0 .5em;font-weight:650}
p{margin:.2em 0 1em;max-width:72ch;text-wrap:pretty}
.lead{font-size:1.1rem;margin-bottom:1.4em}
.note{color:var(--soft);font-size:.9rem}
section{margin:0 0 40px}
code{font:.9em ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;background:var(--wash);padding:.1em .4em;border-radius:5px}
.facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(220px,1fr));gap:12px;margin:0}
.facts div{background:var(--panel);border-radius:10px;box-shadow:var(--shade);border:1px solid var(--line);padding:14px 16px}
.facts dt{color:var(--soft);font-size:.82rem}
.facts dd{margin:0;font-size:1.65rem;font-weight:620;letter-spacing:-.02em;line-height:1.25}
.facts dd.more{font-size:.8rem;font-weight:400;letter-spacing:0;color:var(--soft);line-height:1.4}
.panels{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,330px),1fr));gap:16px}
.panel{background:var(--panel);border:1px solid var(--line);border-radius:10px;box-shadow:var(--shade);padding:16px 18px;min-width:0}
.panel p{margin-bottom:.4em}
.chart{display:block;width:100%;height:auto;max-width:480px;margin:0 auto}
.chart text{fill:var(--soft);font-size:11px;font-family:inherit}
.chart .title{fill:var(--ink);font-size:12px}
.chart .strong{fill:var(--ink);font-weight:600}
.chart line{stroke-width:1}
.chart .grid{stroke:var(--grid)}.chart .tick,.chart .base{stroke:var(--soft)}
.chart .chance{stroke:var(--soft);stroke-dasharray:3 4}
.chart .threshold{stroke:var(--ink);stroke-width:1.5;stroke-dasharray:5 3}
.chart .curve{fill:none;stroke:var(--accent);stroke-width:2.2;stroke-linejoin:round}
.chart .mark{fill:var(--anomalous);stroke:var(--panel);stroke-width:2}
.chart .normal{fill:var(--normal)}.chart .anomalous{fill:var(--anomalous)}.chart .plain{fill:var(--accent)}
.key{display:flex;flex-wrap:wrap;gap:4px 18px;color:var(--soft);font-size:.86rem;margin:.3em 0 0;padding:0;list-style:none}
.key i{display:inline-block;width:14px;height:10px;border-radius:2px;margin-right:6px}
.key .line{height:0;border-top:3px solid;border-radius:0;vertical-align:4px}
.key .dashed{border-top-style:dashed}
.key .dot{width:10px;border-radius:50%;background:var(--anomalous)}
table{border-collapse:collapse;width:100%;font-size:.94rem}
caption{text-align:left;color:var(--soft);font-size:.86rem;padding-bottom:6px}
th,td{text-align:left;padding:7px 10px;border-bottom:1px solid var(--line);vertical-align:top}
thead th{color:var(--soft);font-weight:500;font-size:.84rem;vertical-align:bottom}
tbody th{font-weight:550}
tr:last-child>*{border-bottom:0}
.number{text-align:right;white-space:nowrap;width:1%}thead .number{white-space:normal}
.settings td,.settings th,.left-out td,.kinds tbody th{overflow-wrap:anywhere}
.counts td{text-align:center;font-size:1.35rem;font-weight:620;border-radius:8px;border:4px solid var(--panel)}
.counts th{border:0;vertical-align:middle}.counts thead th{text-align:center}
.counts .right{background:var(--normal-wash)}.counts .wrong{background:var(--anomalous-wash)}
.counts small{display:block;font-size:.78rem;font-weight:400;color:var(--soft)}
.settings th{width:34%;font-weight:500;color:var(--soft)}
.hidden{position:absolute;opacity:0;pointer-events:none}
.choices{display:flex;flex-wrap:wrap;gap:8px;margin:0 0 10px}
.choices label{border:1px solid var(--line);background:var(--panel);border-radius:999px;padding:5px 14px;font-size:.9rem;cursor:pointer}
.choices label:hover{border-color:var(--accent)}
.choices span{color:var(--soft)}
.gallery{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,296px),1fr));gap:16px;margin-top:18px}
.gallery.three{grid-template-columns:repeat(auto-fill,minmax(min(100%,340px),1fr))}
.card{margin:0;padding:0;overflow:hidden;display:flex;flex-direction:column}
.views{display:grid;grid-auto-flow:column;grid-auto-columns:minmax(0,1fr);gap:2px;background:var(--wash)}
.views figure{margin:0;min-width:0}
.views svg{display:block;width:100%;height:auto;background:#000}
.views figcaption{font-size:.74rem;color:var(--soft);padding:3px 8px;background:var(--panel)}
.pixels image{image-rendering:pixelated}.pixels .heat{image-rendering:auto}
.views path{fill:none;vector-effect:non-scaling-stroke;stroke-linejoin:round}
.views .case{stroke:#000b;stroke-width:3.6}
.views .decision{stroke:#fff;stroke-width:1.7}
.views .truth{stroke:var(--mask);stroke-width:1.7;stroke-dasharray:5 2.5}
.about{padding:10px 14px 13px;display:grid;gap:7px}
.about h3{margin:0;font-size:.92rem;font-weight:600;line-height:1.3;overflow-wrap:anywhere;min-width:0;flex:1}
.row{display:flex;gap:10px;align-items:baseline;justify-content:space-between;font-size:.92rem}
.tags{display:flex;flex-wrap:wrap;gap:6px}
.tag{border-radius:5px;padding:1px 8px;font-size:.8rem;background:var(--wash);color:var(--ink)}
.tag.normal{background:var(--normal-wash);color:var(--normal)}
.tag.anomalous{background:var(--anomalous-wash);color:var(--anomalous)}
.tag.mistake{background:var(--ink);color:var(--page);font-weight:600}
.bar{position:relative;height:6px;border-radius:3px;background:var(--wash)}
.bar i{position:absolute;left:0;top:0;bottom:0;border-radius:3px;background:var(--normal)}
.bar i.anomalous{background:var(--anomalous)}.bar i.plain{background:var(--accent)}
.bar b{position:absolute;top:-3px;bottom:-3px;width:2px;background:var(--ink)}
#heat:not(:checked)~.gallery .heat,#lines:not(:checked)~.gallery .views path{display:none}
footer{padding-bottom:40px;color:var(--soft);font-size:.86rem}
@media (max-width:560px){main,header,footer{padding-left:16px;padding-right:16px}header{padding-top:24px}
.facts{grid-template-columns:1fr 1fr}.facts dd{font-size:1.4rem}.panel{padding:14px 12px}.card{padding:0}table{font-size:.86rem}th,td{padding:6px 3px}
.kinds{font-size:.8rem}.wide{display:none}}
@media print{:root{color-scheme:light;--page:#fff;--panel:#fff;--ink:#000;--soft:#444;--line:#bbb;--grid:#ddd;--normal:#2166ac;
--anomalous:#c2410c;--accent:#0b5fb0;--wash:#eee;--normal-wash:#e3eefa;--anomalous-wash:#fdeadf;--shade:none}
body{font-size:11pt;-webkit-print-color-adjust:exact;print-color-adjust:exact}
.choices,.wide{display:none}.kinds{font-size:8.5pt}.kinds tbody th{overflow-wrap:normal}.kinds th,.kinds td{padding:4px 3px}h2,h2+p{break-after:avoid}p,.panel,.card,.facts div,tr{break-inside:avoid}section{margin-bottom:20px}
.gallery,.gallery.three{grid-template-columns:repeat(3,1fr)}}
)css";

}  // namespace cuttle::report

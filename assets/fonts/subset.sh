#!/bin/sh
# Makes DejaVuSans-subset.ttf from DejaVu Sans 2.37 (Debian: fonts-dejavu-core; upstream: dejavu-fonts.github.io).
# Keeps Latin, Greek, Cyrillic and the few symbols that reports use; drops hinting and layout tables, which the
# rasteriser does not read (kerning stays). Needs fonttools: pip install fonttools
set -eu
cd "$(dirname "$0")"
pyftsubset "${1:-/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf}" \
    --unicodes="U+0020-007E,U+00A0-017F,U+0370-03FF,U+0400-045F,U+2010-2026,U+2070-2079,U+207B,U+2080-2089,U+2190-2193,U+2212,U+2248,U+2264,U+2265,U+25CF,U+2605,U+FFFD" \
    --no-hinting --layout-features='' --legacy-kern --drop-tables+=GPOS,GSUB,GDEF,MATH,gasp,FFTM --notdef-outline --no-glyph-names \
    --output-file=DejaVuSans-subset.ttf

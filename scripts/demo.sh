#!/usr/bin/env bash
# The main job from end to end, with no data, no GPU, and no network but the package index:
# explain a real chest film with the shipped models, then train, evaluate, audit, explain, export and serve on synthetic
# films.
# Everything it makes lies below demo/ (or the folder given as first argument).
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
ensure demo
out="${1:-demo}"
rm -rf "$out/RG1.dcm" "$out/film" "$out/synthetic" "$out/run" "$out/evaluation" "$out/explanations" "$out/lungs" \
    "$out/audit" "$out/report.html" "$out/served" "$out/serve.json" "$out/serve.log"
mkdir -p "$out"
step() { printf '\n== %s\n' "$*" >&2; }

step "1/8 a real chest film (pydicom-data, RG1) explained by the shipped model"
film="$(python - <<'PY'
from pydicom.data import get_testdata_file
print(get_testdata_file("RG1_UNCR.dcm", download=False) or "")
PY
)"
if [ -z "$film" ]; then
    echo "error: RG1_UNCR.dcm is not in the installed pydicom-data; expected version 1.0; run: pip install pydicom-data" >&2
    exit 3
fi
cp "$film" "$out/RG1.dcm"
covidcxr explain "$out/RG1.dcm" --out "$out/film"
covidcxr segment "$out/RG1.dcm" --out "$out/lungs"

step "2/8 synthetic films"
covidcxr data demo "$out/synthetic" --patients 36 --seed 0 --size 256

step "3/8 train COVID-CXNet, small, on the synthetic films"
covidcxr train --arch chexnet --data "$out/synthetic/manifest.csv" --out "$out/run" \
    --set image.size=96 --set image.tiles=4 --set train.batch_size=8 \
    --set model.batch_norm_momentum=0.6 --epochs 5 --seed 0

step "4/8 evaluate it"
covidcxr evaluate --predictions "$out/run/predictions_test.csv" --positive covid19 --out "$out/evaluation"

step "5/8 explain one of its films"
first="$(find "$out/synthetic/films" -name '*.png' | sort | head -n 1)"
covidcxr explain "$first" --model "$out/run" --method gradcam --out "$out/explanations"

step "6/8 audit it: does it read the lungs, or something else?"
covidcxr audit --model "$out/run" --data "$out/run/split.csv" --root "$out/synthetic" --split test --films 40 \
    --resamples 200 --out "$out/audit"
covidcxr report "$out/run" --audit "$out/audit" --out "$out/report.html"

step "7/8 export it, serve it, and ask the server"
covidcxr export "$out/run" "$out/served"
covidcxr serve "$out/served/covid_cxnet" --port 0 --grpc-port 0 >"$out/serve.json" 2>"$out/serve.log" &
server=$!
trap 'kill "$server" 2>/dev/null || true' EXIT
until [ -s "$out/serve.json" ]; do
    kill -0 "$server" 2>/dev/null || { cat "$out/serve.log" >&2; exit 5; }
    sleep 0.2
done
address="$(python -c 'import json, sys; print(json.loads(sys.stdin.readline())["page"])' <"$out/serve.json")"
python "$out/served/clients/rest_client.py" "$first" "$out/RG1.dcm" --server "$address"
kill "$server"
wait "$server"
trap - EXIT

step "8/8 done"
echo "pictures and tables:"
find "$out" \( -name '*_gradcam.png' -o -name 'history.png' -o -name 'roc*.png' -o -name 'audit.png' -o -name 'audit.md' -o -name 'report.html' -o -name 'metrics.json' -o -path '*overlays*.png' \
    -o -name 'predictions_test.csv' \) -not -path "$out/synthetic/*" | sort | sed 's/^/  /'
echo "The model of this demo was trained on synthetic films: its scores say nothing about patients."

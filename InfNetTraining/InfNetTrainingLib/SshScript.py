"""A script that trains on a machine reached by SSH, while the panel here follows the run by its folder."""

import json
import shlex
import uuid
from dataclasses import replace
from pathlib import Path

from slicer.i18n import tr as _

from InfNetTrainingLib.RunFolder import writeRemoteNote
from InfNetTrainingLib.SshErrors import SCRIPT

_SENT = ("Imgs", "GT", "Soft", "Consolidation", "slices.csv")
_SCRIPT = """\
#!/bin/bash
# Trains on another machine by SSH, with a key or an agent, so that no password is asked for.
#   bash remote.sh         send the slices, start the training or go on with it, follow it, fetch the results
#   bash remote.sh stop    ask it to stop
#   bash remote.sh end     end it at once
# Ctrl+C ends the following alone: start this again to go on following. Needed there: a POSIX shell, tar, and a Python
# that has infnet with its extra "train".
set -eu
host={host}
there={there}
name={name}
python={python}
here=$(cd "$(dirname "$0")" && pwd)

ssh() {{ command ssh -o BatchMode=yes -o ConnectTimeout=15 -o ServerAliveInterval=15 "$@"; }}
on() {{ ssh "$host" "cd '$there' && $1"; }}
send() {{  # FROM TO NAME …
    from=$1; to=$2; shift 2
    tar -C "$from" -cf - "$@" | ssh "$host" "mkdir -p '$there/$to' && tar -C '$there/$to' -xf -"
}}
tell() {{  # what it has told since the last look
    touch "$here/progress.jsonl"
    size=$(($(wc -c < "$here/progress.jsonl") + 1))
    on "tail -c +$size '$name/progress.jsonl'" >> "$here/progress.jsonl"
    # and the tables that have changed, for the curves
    on "touch looking; cd '$name'; test -e ../looked && newer='-newer ../looked'
        find . -name '*.csv' \\${{newer:-}} | tar -cf - -T - 2>/dev/null
        mv ../looking ../looked" | tar -C "$here" -xf -
}}

case "${{1:-}}" in
stop) on "touch '$name/stop'"; exit ;;
end) on 'kill -KILL $(cat pid) $(pgrep -P $(cat pid))'; exit ;;
esac
if [ -z "${{FOLLOWED_BY_SLICER:-}}" ]; then  # which does this itself
    rm -f "$here/stop"
    printf '{{"pid": 0, "started": "", "host": "ssh %s"}}\\n' "$host" > "$here/process.json"
    trap 'rm -f "$here/process.json"' EXIT
fi
ssh "$host" "$python -c 'import importlib.util as u, sys; sys.exit(None in map(u.find_spec, sys.argv[1:]))' \\
    infnet lightning" || {{
    if [ $? -eq 255 ]; then exit 255; fi
    echo "There, $python is no Python that has infnet with its extra train: install it there, or name another one." >&2
    exit 3
}}
if ! ssh "$host" "test -e '$there/sent'"; then
{sends}
    ssh "$host" "mkdir -p '$there/$name' && cat > '$there/$name/training.json'" <<'NOTE'
{note}
NOTE
    on "touch sent"
fi
# What a person says of the slices is said here; for the next training, what was taken back is taken back there too.
on "kill -0 \\$(cat pid 2>/dev/null) 2>/dev/null || rm -rf '$name/rejected.txt' '$name/corrections'"
for word in rejected.txt corrections; do
    if [ -e "$here/$word" ]; then send "$here" "$name" "$word"; fi
done
on "kill -0 \\$(cat pid 2>/dev/null) 2>/dev/null || {{
    rm -f '$name/stop'
    printf '\\n{{\\"event\\": \\"started\\"}}\\n' >> '$name/progress.jsonl'
    nohup $python TrainingRunner.py '$name' $python -m infnet > '$name/runner.log' 2>&1 < /dev/null &
    echo \\$! > pid
}}"
while on 'kill -0 $(cat pid) 2>/dev/null'; do
    if [ -e "$here/stop" ]; then on "touch '$name/stop'"; fi
    tell
    sleep {seconds}
done
kept_here='--exclude=./training.json --exclude=./process.json --exclude=./progress.jsonl --exclude=./stop'
kept_here="$kept_here --exclude=./rejected.txt --exclude=./corrections"
on "tar -C '$name' --exclude=checkpoints $kept_here -cf - ." | tar -C "$here" -xf -
tell
if [ -z "${{FOLLOWED_BY_SLICER:-}}" ]; then tail -n 1 "$here/progress.jsonl"; fi
"""


def hostProblem(host):
    """Why this can be no machine for ssh (a sentence for the user), or None."""
    isOption = host.strip().startswith("-")
    return None if host.strip() and not isOption else _("Say which machine, as user@machine")


def writeSshRun(config, host, python="python3", secondsBetweenLooks=5):
    """Make the run's folder with ``remote.sh``, which trains on ``host`` ("user@machine"). Returns the script's path.

    python - the Python there, or a command that starts it

    Raises ValueError for what cannot be trained there, and for a folder that holds something.
    """
    host = host.strip()
    problem = hostProblem(host) or config.problem()
    if problem:
        raise ValueError(problem + ".")
    if config.startsFromModel and Path(config.initial).exists():
        raise ValueError(_("A model of this computer is not sent: choose one that infnet has there too."))
    folder = Path(config.outputFolder)
    name = _nameThere(folder)
    remote, sends = _there(config)
    writeRemoteNote(folder, config, host)
    text = _SCRIPT.format(
        host=shlex.quote(host),
        there=shlex.quote(f"infnet-runs/{name}-{uuid.uuid4().hex[:8]}"),  # another run may have the name
        name=shlex.quote(name),
        python=shlex.quote(python),
        sends="\n".join("    send " + shlex.join(words) for words in sends),
        note=json.dumps({"steps": remote.steps()}, indent=2),
        seconds=secondsBetweenLooks,
    )
    path = folder / SCRIPT
    path.write_text(text, encoding="utf-8", newline="\n")
    return path


def _nameThere(folder):
    """The run folder's name, as it can stand between the apostrophes of the script."""
    return folder.name.replace("'", "_")


def _there(config):
    """The configuration with its folders as they are called there, and what has to be sent: (from, to, names …)."""
    folders = {"labelled": config.labelledFolder}
    if config.isSemiSupervised:
        folders["unlabelled"] = config.unlabelledFolder
    folders.update({f"extra-{number}": folder for number, folder in enumerate(config.extraFolders, start=1)})
    sends = [
        [str(folder), name, *(part for part in _SENT if (Path(folder) / part).exists())]
        for name, folder in folders.items()
    ]
    runner = Path(__file__).with_name("TrainingRunner.py")
    sends.append([str(runner.parent), ".", runner.name])
    remote = replace(
        config,
        labelledFolder="labelled",
        unlabelledFolder="unlabelled",
        extraFolders=tuple(name for name in folders if name.startswith("extra-")),
        outputFolder=_nameThere(Path(config.outputFolder)),
        device="auto",
    )
    return remote, sends

"""check_tour.py FILE.md FOLDER: runs the document's ```python blocks and the commands ($ ...) of its ```console blocks in FOLDER, in order,
and compares what the commands print with what the document shows. MICA_BLESS=1 rewrites the document."""
import difflib
import os
import re
import subprocess
import sys

document, folder = os.path.abspath(sys.argv[1]), sys.argv[2]
os.makedirs(folder, exist_ok=True)
text = open(document).read()
failed = False


def run(command):
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return "\n".join(line.rstrip() for line in done.stdout.rstrip("\n").split("\n"))


def replay(match):
    global failed
    kind, body = match.group(1), match.group(2)
    if kind == "python":
        done = subprocess.run([sys.executable, "-W", "ignore", "-c", body], cwd=folder)
        failed |= done.returncode != 0
        return match.group(0)
    fresh = ""
    for command in re.findall(r"^\$ (.*)$", body, re.M):
        printed = run(command)
        fresh += f"$ {command}\n" + (printed + "\n" if printed else "")
    if fresh != body:
        failed = True
        sys.stdout.writelines(difflib.unified_diff(body.splitlines(True), fresh.splitlines(True), "shown in " + os.path.basename(document), "printed now"))
    return f"```console\n{fresh}```"


new = re.sub(r"```(python|console)\n(.*?)```", replay, text, flags=re.S)
if os.environ.get("MICA_BLESS") and new != text:
    open(document, "w").write(new)
    failed = False
sys.exit(failed)

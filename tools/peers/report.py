"""Tables and plots of what was measured."""
from statistics import median


def summary(result: dict) -> dict:
    """name -> (median, minimum) in ms of those that were measured."""
    return {c["name"]: (median(c["ms"]), min(c["ms"])) for c in result["contenders"] if c.get("ms")}


def best_peer(result: dict) -> str | None:
    """The peer with the least minimum."""
    times = {name: t for name, t in summary(result).items() if name != "mica"}
    return min(times, key=lambda name: times[name][1], default=None)


def ratios(result: dict) -> tuple[float, float] | None:
    """mica / best peer: of the minima, and of the medians (each to the peer that is best by it)."""
    times = summary(result)
    peers = [t for name, t in times.items() if name != "mica"]
    if "mica" not in times or not peers:
        return None
    return times["mica"][1] / min(t[1] for t in peers), times["mica"][0] / min(t[0] for t in peers)


def table(result: dict) -> str:
    lines = [f"{result['model']}, {result['precision']}, batch {result['batch']}, {result['threads']} thread{'s' * (result['threads'] != 1)}",
             f"  {'':14} {'min ms':>9} {'median':>9} {'mica/it':>8} {'load s':>8} {'first ms':>9} {'peak MB':>8} {'distance':>9}"]
    times = summary(result)
    for c in result["contenders"]:
        if c["name"] not in times:
            lines.append(f"  {c['name']:14} {c['why'][:100]}")
            continue
        middle, least = times[c["name"]]
        share = f"{times['mica'][1] / least:8.2f}" if "mica" in times else f"{'-':>8}"
        lines.append(f"  {c['name']:14} {least:9.2f} {middle:9.2f} {share} {c['load_ms'] / 1e3:8.2f} {c['first_run_ms']:9.1f} "
                     f"{c['peak_bytes'] / 1e6:8.0f} {c['distance']:9.1e}" if c.get("distance") is not None else
                     f"  {c['name']:14} {least:9.2f} {middle:9.2f} {share} {c['load_ms'] / 1e3:8.2f} {c['first_run_ms']:9.1f} {c['peak_bytes'] / 1e6:8.0f}")
    found = ratios(result)
    if found:
        lines.append(f"  mica / best peer: {found[0]:.2f} by minimum ({best_peer(result)}), {found[1]:.2f} by median")
    return "\n".join(lines)


def plot(results: list[dict], path) -> None:
    """An SVG: for each model, the time of every contender over mica's, best at the left."""
    bar, gap, left, width = 16, 26, 190, 560
    rows, y = [], 20
    for result in results:
        times = {name: t[1] for name, t in summary(result).items()}
        if not times:
            continue
        longest = max(times.values())
        title = f"{result['model']} {result['precision']} batch {result['batch']}, {result['threads']} threads"
        rows.append(f'<text x="8" y="{y}" font-weight="bold">{title}</text>')
        y += 8
        for name, ms in sorted(times.items(), key=lambda item: item[1]):
            colour = "#d9480f" if name == "mica" else "#868e96"
            rows.append(f'<text x="{left - 8}" y="{y + 12}" text-anchor="end">{name}</text>'
                        f'<rect x="{left}" y="{y}" width="{max(1, width * ms / longest):.0f}" height="{bar - 3}" fill="{colour}"/>'
                        f'<text x="{left + width * ms / longest + 6:.0f}" y="{y + 12}">{ms:.2f} ms</text>')
            y += bar
        y += gap
    svg = (f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 110}" height="{y}" font-family="sans-serif" font-size="12">'
           f'<rect width="100%" height="100%" fill="white"/>{"".join(rows)}</svg>\n')
    path.write_text(svg)

"""What a report says at the marked places of a fixture, beside what the marks say."""

from hvci import catalog

BEHAVIOURS = {"writes-executable-memory", "dynamic-code", "data-file-as-executable"}


def wrong_sites(expected, report):
    """What is missing or different, in words."""
    calls = {(item.call.site.rva, item.call.ddi): item for item in report.calls}
    for site in (site for site in expected["sites"] if site["api"]):
        for place in site["at"]:
            item = calls.get((place["rva"], site["api"]))
            where = f"{site['id']} {site['api']} at {place['rva']:#x}"
            if item is None:
                yield f"{where}: missing"
            elif (found := shown(item.call, site)) != wanted(site):
                yield f"{where}: {found} instead of {wanted(site)}"


def shown(call, site):
    ddi = catalog.ddis()[site["api"]]
    name = ddi.parameters[site["arg"]].name if isinstance(site["arg"], int) else site["arg"]
    value = call.arguments.get(name)
    if value is None or not site["values"]:
        return None
    return sorted(value.possible), value.complete


def wanted(site):
    return (sorted(site["values"]), site["complete"]) if site["values"] else None


def wrong_tags(expected, report):
    """The same for a driver whose calls are known by their pool tags: all of one tag together."""
    for site in expected["sites"]:
        ddi = catalog.ddis()[site["api"]]
        name = ddi.parameters[site["arg"]].name
        calls = [item.call for item in report.calls if item.call.ddi == site["api"]]
        calls = [call for call in calls if site["tag"] in tags(call, ddi)]
        values = [call.arguments[name] for call in calls]
        found = sorted({each for value in values for each in value.possible})
        if not calls:
            yield f"{site['id']} {site['api']}: missing"
        elif site["complete"] and not (
            found == sorted(site["values"]) and all(value.complete for value in values)
        ):
            yield f"{site['id']} {site['api']}: {found} instead of {site['values']}"


def tags(call, ddi):
    """The pool tags of a call; None stands for those of a DDI without one."""
    return call.arguments[ddi.tag].possible if ddi.tag else {None}


def behaviours(report):
    """The outcome of every behaviour found, by rule and place."""
    return {
        (result.rule, finding.site.rva): finding.outcome
        for result in report.results
        if result.rule in BEHAVIOURS
        for finding in result.findings
    }


def marked_behaviours(expected):
    """The places of each behaviour that must be found at one of them."""
    places = {}
    for site in expected["sites"]:
        if site["rule"] in BEHAVIOURS and site["verdict"] != "pass":
            key = site["id"], site["rule"], site["verdict"]
            places.setdefault(key, set()).update(place["rva"] for place in site["at"])
    return places

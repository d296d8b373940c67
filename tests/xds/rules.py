"""Judges calls by the lines of calls.py. Prints what it saw, and exits with 1 if that is wrong.

rules.py RULE FILE ARGUMENT...: the rules are the functions of `RULES`. Times are ms since 1970.
rules.py: whether each rule can fail.
"""

import collections
import sys
import time

Call = collections.namedtuple("Call", "began took answer text")


def calls(lines, since=0, until=float("inf")):
    """Those that began in this time. The last line counts once it has its end."""
    for line in lines().split("\n")[:-1]:
        began, took, answer, *text = line.split(" ", 3)
        call = Call(int(began), int(took), answer, " ".join(text))
        if since <= call.began < until:
            yield call


def said(calls):
    """How often each port or status answered, and the first failure."""
    counts = collections.Counter(call.answer for call in calls)
    words = [f"{answer}: {counts[answer]}" for answer in sorted(counts)]
    for call in calls:
        if not call.answer.isdigit():
            words.append(f"the first {call.answer} after {call.took} ms: {call.text}")
            break
    return ", ".join(words) or "no call"


def reached(lines, since, until, *ports):
    """In that time each of these ports answered, and nothing else did."""
    seen = list(calls(lines, int(since), int(until)))
    return {call.answer for call in seen} == set(ports), said(seen)


def succeeded(lines, since, until, a_second=10):
    """In that time no call failed, and calls did go on.

    A call and its usual pause take less than 25 ms, and a machine that is four times slower still makes 10 calls a
    second. One call that hangs is less.
    """
    seen = list(calls(lines, int(since), int(until)))
    enough = len(seen) >= (int(until) - int(since)) / 1000 * int(a_second)
    slowest = max((call.took for call in seen), default=0)
    return enough and all(call.answer.isdigit() for call in seen), f"{said(seen)}; {slowest} ms at most"


def refused(lines, ms, status):
    """All calls so far failed with this status, the first one in less than that."""
    seen = list(calls(lines))
    quick = bool(seen) and seen[0].took < int(ms)
    return quick and {call.answer for call in seen} == {status}, said(seen)


def comes(lines, changed, answer, seconds):
    """A port or a status answers in less than that from a change on."""
    changed, ms = int(changed), 1000 * int(seconds)
    while True:
        for call in calls(lines, changed):
            if call.answer == answer:
                after = call.began + call.took - changed
                return after < ms, f"after {after} ms"
        if time.time() * 1000 > changed + ms:
            return False, f"not in {seconds} s, but {said(list(calls(lines, changed)))}"
        time.sleep(0.05)


def settled(lines, changed, seconds):
    """The calls since a change, once there are some of half a second beyond that time. None: there are none."""
    changed, ms = int(changed), 1000 * int(seconds)
    while True:
        seen = list(calls(lines, changed))
        if seen and seen[-1].began >= changed + ms + 500:
            return seen
        if time.time() * 1000 > changed + ms + 1500:
            return None
        time.sleep(0.05)


def goes(lines, changed, answer, seconds):
    """A port answered before a change, and no call that begins later than that time after it."""
    seen = settled(lines, changed, seconds)
    if seen is None:
        return False, f"no calls after {seconds} s"
    before = any(call.answer == answer for call in calls(lines, 0, int(changed)))
    last = max((call.began - int(changed) for call in seen if call.answer == answer), default=0)
    return before and last < 1000 * int(seconds), f"the last call after {last} ms" if before else "it was not there"


def only(lines, changed, answer, seconds):
    """All calls that begin later than that time after a change have this answer."""
    seen = settled(lines, changed, seconds)
    if seen is None:
        return False, f"no calls after {seconds} s"
    last = max((call.began - int(changed) for call in seen if call.answer != answer), default=0)
    return last < 1000 * int(seconds), f"{said(seen[-10:])}; the last other answer after {last} ms"


def shared(lines, skipped, counted, low, high, port):
    """Of so many calls, low to high were answered by the port, and none failed."""
    seen = list(calls(lines))[int(skipped) :][: int(counted)]
    of_port = sum(call.answer == port for call in seen)
    all_answered = sum(call.answer.isdigit() for call in seen) == int(counted)
    return all_answered and int(low) <= of_port <= int(high), f"{of_port} of {len(seen)}: {said(seen)}"


RULES = {rule.__name__: rule for rule in (reached, succeeded, refused, comes, goes, only, shared)}


def can_fail():
    """Nobody passes who makes no call, and one wrong call is enough."""
    good = "5 1 81\n6 1 82\n"
    passes = {
        "reached": (good, 0, 9, "81", "82"),
        "succeeded": (good, 0, 200),
        "refused": ("7 1 UNAVAILABLE gone\n", 2, "UNAVAILABLE"),
        "comes": (good, 0, "82", 1),
        "goes": (good + "1506 1 82\n", 6, "81", 1),
        "only": (good + "1500 1 82\n", 0, "82", 1),
        "shared": (good, 0, 2, 1, 1, "81"),
    }
    fails = [
        ("reached", good, 0, 9, "81"),
        ("reached", good, 0, 9, "81", "82", "83"),
        ("reached", good + "7 1 UNAVAILABLE gone\n", 0, 9, "81", "82"),
        ("succeeded", good, 0, 201),
        ("succeeded", good, 0, 200, 11),
        ("succeeded", good + "7 1 UNAVAILABLE gone\n", 0, 100),
        ("refused", "7 2 UNAVAILABLE gone\n", 2, "UNAVAILABLE"),
        ("refused", "7 1 UNAVAILABLE gone\n9 1 81\n", 2, "UNAVAILABLE"),
        ("refused", "7 1 DEADLINE_EXCEEDED gone\n", 2, "UNAVAILABLE"),
        ("comes", good, 0, "83", 1),
        ("comes", "5 1000 81\n", 0, "81", 1),
        ("comes", good, 6, "81", 1),
        ("goes", good + "1506 1 82\n", 6, "83", 1),
        ("goes", good + "1400 1 82\n", 6, "81", 1),
        ("goes", good + "1100 1 81\n1600 1 82\n", 6, "81", 1),
        ("only", good + "1400 1 82\n", 0, "82", 1),
        ("only", good + "1100 1 81\n1600 1 82\n", 0, "82", 1),
        ("shared", good, 0, 2, 2, 2, "81"),
        ("shared", good, 0, 2, 0, 0, "81"),
        ("shared", good + "7 1 UNAVAILABLE gone\n", 0, 3, 1, 1, "81"),
        # The end of the last line has not been written yet.
        ("reached", "5 1 81\n6 1 82", 0, 9, "81", "82"),
    ]
    fails += [(rule, "", *arguments) for rule, (_, *arguments) in passes.items()]
    wrong = [(rule, *case) for rule, case in passes.items() if not RULES[rule](lambda: case[0], *case[1:])[0]]
    wrong += [case for case in fails if RULES[case[0]](lambda: case[1], *case[2:])[0]]
    return passes.keys() == RULES.keys() and not wrong, f"wrong: {wrong}" if wrong else f"{len(fails)} cases"


def read(path):
    with open(path) as file:
        return file.read()


if len(sys.argv) > 1:
    right, saw = RULES[sys.argv[1]](lambda: read(sys.argv[2]), *sys.argv[3:])
else:
    right, saw = can_fail()
print(saw)
sys.exit(not right)

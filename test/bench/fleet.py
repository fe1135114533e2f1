"""Runs one task on a fleet of Sidecars, and prints what it took, as JSON. fleet.go starts it.

Stdin has JSON: the folder of the scripts as `connector`, `urls` and `keys` by the name of the host,
the `command`, and in seconds the `timeout`.
"""
import json
import sys
import time


def peak():
    """Returns the peak of the resident memory of this process, in bytes."""
    with open('/proc/self/status', encoding='ascii') as status:
        fields = dict(line.split(':', 1) for line in status)
    return 1024 * int(fields['VmHWM'].split()[0])


def main():
    given = json.load(sys.stdin)
    sys.path.insert(0, given['connector'])
    import sidecar__fleet

    fleet = sidecar__fleet.SidecarFleet.from_urls(given['urls'], given['keys'])
    began, before = time.monotonic(), time.process_time()
    done = fleet.shell(given['command'], timeout=given['timeout'])
    json.dump({
        'seconds': time.monotonic() - began, 'cpu': time.process_time() - before, 'peak': peak(),
        'counts': {state: len([one for one in done if one.state == state])
                   for state in sidecar__fleet.STATES},
        'table': done.table(), 'python': sys.version.split()[0]}, sys.stdout)


if __name__ == '__main__':
    main()

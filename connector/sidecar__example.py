"""Functions for DataFlux Func: run a command on the host now, follow a long one, run an action, or
start a command and receive its result later.

They use the connector `sidecar`: create it under that id, with the address and the SECRET_KEY of
the host, and save it without the connection test. deploy also works with a key that may run
actions only (docs/keys.md). run_later also needs the environment variable sidecar_callback_url,
which has the URL of the API that you create for `cb`.

`DFF` and `_DFF_HTTP_REQUEST` are Func's.
"""
import sidecar__callback
import sidecar__helper


def sidecar():
    return sidecar__helper.SidecarHelper.from_connector(DFF.CONN('sidecar'))


@DFF.API('Run a command on the host')
def run(command='echo "hello $NAME"; hostname', name='world'):
    """Returns what the command writes; raises an exception if it fails."""
    status, result = sidecar().shell(
        command, workdir='/tmp', envs={'NAME': name}, timeout=30, check=True)
    return result['data']['stdout']


@DFF.API('Follow a command on the host')
def follow(command='for i in 1 2 3; do date; sleep 1; done'):
    """Prints each line when the command writes it.

    Func ends a function after 35 seconds. For a longer command write a function of your own with
    @DFF.API('…', timeout=3600), or call this one through an async API.
    """
    helper = sidecar()
    status, result = helper.shell(command, wait=False, command_timeout=30)
    for line in helper.lines(result['data']['jobId']):
        print(line)
    return helper.result(result['data']['jobId'])['exitCode']


@DFF.API('What the key of the connector may do')
def permissions():
    """Returns the name of the key, when it expires, and the actions that it may run."""
    return sidecar().permissions()


@DFF.API('Run an action of the host')
def deploy(version='v1.2'):
    """Runs [ACTION.deploy] of the configuration of the host, which declares the variable VERSION."""
    status, result = sidecar().run(
        'deploy', VERSION=version, timeout=30, check=True,
        labels=sidecar__helper.func_labels(globals()))
    return result['data']['stdout']


@DFF.API('Run a command on the host and be called back')
def run_later(command='sleep 60; hostname'):
    """Returns the job id at once."""
    callback_url = DFF.ENV('sidecar_callback_url')
    if not callback_url:
        raise Exception('create an API for the function cb, '
                        'and set the environment variable sidecar_callback_url to its URL')
    status, result = sidecar().shell(
        command, wait=False, callback_url=callback_url, command_timeout=600)
    return result['data']['jobId']


@DFF.API('Receive the result of a command')
def cb(stdout, stderr):
    """Verifies that the Sidecar calls. A result can arrive more than once."""
    got = sidecar__callback.verify_call(DFF.CONN('sidecar'), _DFF_HTTP_REQUEST)
    print('job %s, attempt %s: exit code %s' % (got['jobId'], got['attempt'], got['exitCode']))
    print('stdout:', stdout)
    print('stderr:', stderr)
    return 'received'

"""Two functions for DataFlux Func: one runs a command on the host, the other receives its result later.

Set two environment variables in Func first: sidecar_url, such as http://172.17.0.1:8099, and
sidecar_secret_key; and sidecar_callback_url, the URL under which Func serves `cb`.

`DFF.API` and `DFF.ENV` are used as Func's manual describes them.
"""
import sidecar__helper


def sidecar():
    # The key goes from the environment into the helper: no variable of this script holds it.
    return sidecar__helper.SidecarHelper.from_url(DFF.ENV('sidecar_url'), DFF.ENV('sidecar_secret_key'))


@DFF.API('Run a command on the host')
def run(command='hostname', name='world'):
    status, result = sidecar().shell(command, wait=True, workdir='/tmp', envs={'NAME': name}, timeout=30)
    data = result['data']
    if data['exitCode'] != 0:
        raise Exception('%s ended with %s: %s' % (command, data['exitCode'] or data['signal'], data['stderr']))
    return data['stdout']


@DFF.API('Run a command on the host and be called back')
def run_later(command='sleep 60; hostname'):
    callback_url = DFF.ENV('sidecar_callback_url')
    status, result = sidecar().shell(command, wait=False, callback_url=callback_url, command_timeout=600)
    return result['data']['jobId']


@DFF.API('Receive the result of a command')
def cb(stdout, stderr):
    print('stdout:', stdout)
    print('stderr:', stderr)
    return 'received'

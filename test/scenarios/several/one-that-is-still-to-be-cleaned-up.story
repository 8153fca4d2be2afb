# The far replica is given up by force while its host is away, where it may go on. Whoever fails over the near one is told so, until the far one is seen at rest.
hosts production, near, far
vm web on production

protect web from production to near: named -near
protect web from production to far: named -far
run web-near
run web-far
fail over web-far fencing by power-off
far stops answering
undo web-far by force, keeping the fence
fail over web-near
expect web-near connected
expect web-near to be told web-far, of another replica of the VM, does not answer and may still be running
undo web-near, keeping the fence
far answers again
fail over web-near
expect web-near disconnected
expect the log to say web-far, of another replica of the VM, is running and connected
undo web-near, keeping the fence
sweep
until everything has settled
expect web-far off
fail over web-near
expect web-near connected
expect web-near to be not unfenced-source

# The near replica was tried beside its source, which its failback then shuts down. Before that fails the far one takes over: the source does not come up again beside it.
hosts production, near, far
vm web on production

protect web from production to near: named -near
protect web from production to far: named -far
run web-near
run web-far
fail over web-near
fault at production.productionDisks.lay 4 times: fail
begin fail back web-near
until the fault has struck
fail over web-far
until everything has settled
expect web-far connected
expect web on production off
expect the log to say #4 failback web-near: failed
expect the log to say web is left off, as web-far, of another replica of the VM, had taken its place
expect web-near to be source-left-fenced
undo web-far
start web on production
undo web-near
run web-near

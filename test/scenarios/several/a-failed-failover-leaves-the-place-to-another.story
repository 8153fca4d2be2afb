# A failover fails, and its fence cannot be lifted at once. Meanwhile the other replica takes the VM's place: when the first one's way back goes on at last, the source stays off.
hosts production, near, far
vm web on production

protect web from production to near: named -near
protect web from production to far: named -far
run web-near
run web-far
fault at far.store.createBranch 5 times: fail
fault at production.hypervisor.start 5 times: fail
fail over web-far fencing by power-off
expect the last operation suspended
fail over web-near
expect web-near connected
retry web-far
expect web on production off
expect web-near running
expect the log to say web is left off, as web-near, of another replica of the VM, had taken its place
expect web-far to be source-left-fenced
undo web-near
expect web-far to be source-left-fenced
start web on production
the sources are looked at
expect web-far to be not source-left-fenced

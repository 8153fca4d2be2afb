# The near replica is undone while the far one takes over: the source stays fenced, as it would beside a replica that serves.
hosts production, near, far
vm web on production

protect web from production to near: named -near
protect web from production to far: named -far
run web-near
run web-far
fail over web-near fencing by power-off
shut down web-near on near
fault at far.hypervisor.start: slow by 30 s
begin fail over web-far
until the fault has struck
undo web-near
until everything has settled
expect web on production off
expect web-far connected
undo web-far

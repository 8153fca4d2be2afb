# The near replica is undone, and its source about to start, when the far one is failed over and sees a source that is off. What nobody could see is told, until the far one serves no more.
hosts production, near, far
vm web on production

protect web from production to near: named -near
protect web from production to far: named -far
run web-near
run web-far
fail over web-near fencing by power-off
fault at production.hypervisor.start: slow by 3 s
begin undo web-near
until the fault has struck
fail over web-far
expect web on production connected
expect web-far connected
expect web-near to be unfenced-source
undo web-far
the sources are looked at
expect web-near to be not unfenced-source

# The near replica has taken over and its guest does not answer yet. Whoever wants the far one instead is told what goes on, and what leads to it.
hosts production, near, far
vm web on production

protect web from production to near: named -near
protect web from production to far: named -far
run web-near
run web-far
begin fail over web-near fencing by power-off
wait 2 s
begin fail over web-far
undo web-near
fail over web-far fencing by power-off
expect web-near off
expect web-far connected

# Beside the near replica, which is tried and whose host falls silent, the far one is tried and the fence of the source lifted again. The undo of the trial does not make the near one known.
the scheduler runs
hosts production, near, far
vm web on production

protect web from production to near: every 24 h, named -near
protect web from production to far: every 24 h, named -far
run web-near
run web-far
fail over web-near
fail over web-far
fence web-far by nics
near stops answering
lift the fence of web-far
expect web-far to be unfenced-source
undo web-far
expect web-far to be unfenced-source
wait 1 min
expect web-far to be unfenced-source
near answers again
wait 1 min
expect web-far to be not unfenced-source

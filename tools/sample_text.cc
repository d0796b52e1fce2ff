#include "tools/sample_text.h"

namespace pingti::tools {

std::string_view SampleText() {
  return R"(The harbour was quiet in the early morning. Two fishing boats had come back before the
storm, and their crews were mending nets on the stone steps while the tide went out. A girl with a
red bicycle stopped to ask what they had caught. "Nothing worth a photograph," said the older man,
"but enough to eat." He showed her a bucket with seven mackerel and one crab that had lost a claw.

Water boils at 100 degrees Celsius at sea level, and at a lower temperature on a mountain, because
the pressure of the air above it is smaller. On the summit of a peak of 8,000 metres it boils near
74 degrees, which is why climbers find that rice takes longer to cook there. A pressure cooker does
the opposite: it keeps the steam in, so that water reaches about 120 degrees and beans are soft in a
third of the time.

To find out whether a number is prime, it is enough to divide it by every prime up to its square
root. For 97 those are 2, 3, 5 and 7; none of them divides it, so 97 is prime. The same in Python:

    def is_prime(n):
        if n < 2:
            return False
        divisor = 2
        while divisor * divisor <= n:
            if n % divisor == 0:
                return False
            divisor += 1
        return True

    print([n for n in range(50) if is_prime(n)])

In 1854 a doctor named John Snow marked on a map of London every house in which somebody had died of
cholera. The marks lay close together around one pump in Broad Street. He had its handle taken off,
and the number of new cases fell. Few believed him then: most people thought that the disease was
carried by bad air. It took thirty years more until the bacterium was seen under a microscope.

Question: A train leaves at 9:40 and arrives at 13:05. How long is the journey?
Answer: From 9:40 to 13:00 are three hours and twenty minutes; five more make three hours and
twenty-five minutes.
)";
}

}  // namespace pingti::tools

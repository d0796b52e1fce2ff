// The rate at which this card's memory can be read: what shares of a roofline are taken from, so
// that they hold for the card at hand and its clock of the day.
#pragma once

namespace pingti::kernels::bench {

// Bytes per second of the current device, reading 2 GiB of random data once: the best median of
// several launch shapes. Takes about a tenth of a second, and memory that it gives back.
double MeasureReadBytesPerSecond();

}  // namespace pingti::kernels::bench

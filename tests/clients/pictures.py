"""Small grey pictures: read, written and compared without a picture library.

What is kept is a PNG of sixteen greys, some kilobytes each. Letters may sit a little differently where another version of
Chromium or poppler draws them; a shifted table, a missing bar or another colour is far above what is tolerated.
"""

import struct
import zlib

GREYS = 16
# Of all pixels, how many may differ by more than two greys of sixteen, and how much all may differ together.
MOST_DIFFERENT, MOST_DIFFERENCE = 0.01, 0.012


class Picture:
    def __init__(self, width, height, pixels):
        self.width, self.height, self.pixels = width, height, pixels  # a byte a pixel, 0 is black

    def halved(self):
        """Half as wide and high: each pixel the mean of four."""
        width, height, wide = self.width // 2, self.height // 2, self.width
        rows = (self.pixels[2 * row * wide:(2 * row + 2) * wide] for row in range(height))
        pixels = bytearray()
        for row in rows:
            upper, lower = row[:wide], row[wide:]
            fours = zip(upper[0:2 * width:2], upper[1:2 * width:2], lower[0:2 * width:2], lower[1:2 * width:2])
            pixels.extend(sum(four) // 4 for four in fours)
        return Picture(width, height, bytes(pixels))

    def ink(self):
        """The share of pixels that differ from the picture's corner."""
        return sum(abs(pixel - self.pixels[0]) > 24 for pixel in self.pixels) / len(self.pixels)

    def difference(self, other):
        """What is wrong with it, compared with another; None if they look the same."""
        if (self.width, self.height) != (other.width, other.height):
            return f"{self.width} × {self.height} pixels, not {other.width} × {other.height}"
        apart = [abs(one - two) for one, two in zip(self.pixels, other.pixels)]
        different = sum(step > 40 for step in apart) / len(apart)
        together = sum(apart) / len(apart) / 255
        if different > MOST_DIFFERENT or together > MOST_DIFFERENCE:
            return f"{different:.2%} of the pixels differ, by {together:.2%} on the whole"
        return None

    def write(self, path):
        half = [round(pixel * (GREYS - 1) / 255) for pixel in self.pixels]
        rows = bytearray()
        for start in range(0, len(half), self.width):
            row = half[start:start + self.width] + [0] * (self.width % 2)
            rows.append(0)
            rows.extend(high << 4 | low for high, low in zip(row[::2], row[1::2]))
        chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        head = struct.pack(">IIBBBBB", self.width, self.height, 4, 0, 0, 0, 0)
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(rows), 9)) + chunk(b"IEND", b""))


def read_pgm(data):
    """What `pdftoppm -gray` writes."""
    kind, width, height, most, pixels = header(data)
    assert kind == b"P5" and most == 255, (kind, most)
    return Picture(width, height, pixels)


def header(data):
    words, place = [], 0
    while len(words) < 4:
        end = place
        while not data[end:end + 1].isspace():
            end += 1
        words.append(data[place:end])
        place = end + 1
    return words[0], int(words[1]), int(words[2]), int(words[3]), data[place:]


def read_png(data):
    """A PNG of 8-bit grey, RGB or RGBA, or one of ours."""
    place, packed, depth, colour, width, height = 8, b"", 8, 2, 0, 0
    while place < len(data):
        length, kind = int.from_bytes(data[place:place + 4], "big"), data[place + 4:place + 8]
        body = data[place + 8:place + 8 + length]
        if kind == b"IHDR":
            width, height, depth, colour = struct.unpack(">IIBB", body[:10])
        elif kind == b"IDAT":
            packed += body
        place += 12 + length
    channels = {0: 1, 2: 3, 6: 4}[colour]
    step = max(1, channels * depth // 8)
    stride = (width * channels * depth + 7) // 8
    raw, above, grey = zlib.decompress(packed), bytes(stride), bytearray()
    for row in range(height):
        start = row * (stride + 1)
        line = unfilter(raw[start], bytearray(raw[start + 1:start + 1 + stride]), above, step)
        above = line
        if depth == 4:
            nibbles = [half for byte in line for half in (byte >> 4, byte & 15)]
            grey.extend(half * 17 for half in nibbles[:width])
        elif channels == 1:
            grey.extend(line)
        else:
            reds, greens, blues = line[::channels], line[1::channels], line[2::channels]
            grey.extend((299 * r + 587 * g + 114 * b) // 1000 for r, g, b in zip(reds, greens, blues))
    return Picture(width, height, bytes(grey))


def unfilter(kind, line, above, step):
    if kind == 0:
        return line
    for place in range(len(line)):
        left = line[place - step] if place >= step else 0
        up = above[place]
        if kind == 1:
            guess = left
        elif kind == 2:
            guess = up
        elif kind == 3:
            guess = (left + up) // 2
        else:
            corner = above[place - step] if place >= step else 0
            near = left + up - corner
            guess = min((abs(near - left), 0, left), (abs(near - up), 1, up), (abs(near - corner), 2, corner))[2]
        line[place] = (line[place] + guess) & 255
    return line

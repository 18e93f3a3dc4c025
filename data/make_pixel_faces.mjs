// Draw the 33,000 pixel faces: one line of JSON a face, to stdout.
//
//     npm install --no-save @dicebear/core@9.4.3 @dicebear/pixel-art@9.4.3 \
//         @resvg/resvg-js@2.6.2
//     node data/make_pixel_faces.mjs | python data/make_pixel_faces.py
//
// Face number i has the seed string of i. Glasses, hats and beards are commoner
// than in the package's own defaults, so that a small sample shows them.
import { createAvatar } from '@dicebear/core';
import * as pixelArt from '@dicebear/pixel-art';
import { Resvg } from '@resvg/resvg-js';

const COUNT = 33000;
const LOOK = {
  backgroundColor: ['b6e3f4', 'c0aede', 'd1d4f9', 'ffd5dc', 'ffdfbf'],
  glassesProbability: 30,
  hatProbability: 15,
  beardProbability: 15,
};

for (let seed = 0; seed < COUNT; seed++) {
  const face = createAvatar(pixelArt, { ...LOOK, seed: String(seed) });
  const { width, height, pixels } = new Resvg(face.toString(), {
    font: { loadSystemFonts: false },  // 100 times slower with them
    fitTo: { mode: 'width', value: 16 },
  }).render();
  if (width !== 16 || height !== 16) {
    throw new Error(`face ${seed} is ${width} x ${height}, expected 16 x 16`);
  }
  const rgb = pixels.filter((_, i) => i % 4 !== 3);
  const traits = face.toJson().extra;
  console.log(JSON.stringify({ rgb: rgb.toString('base64'), traits }));
}

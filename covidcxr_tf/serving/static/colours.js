// Colour maps of even steps in lightness, which people with any colour vision can order: 33 colours, mixed in between.
// viridis and inferno: S. van der Walt and N. Smith, CC0. cividis: Nunez, Anderton and Renslow 2018.
// Turbo is left out: its lightness rises and falls.

const TABLES = {
  inferno: "0000040403120b0724150b37210c4a2f0a5b3d09654a0c6b57106e64156e71196e7d1e6d8a226a972766a32c61b0315bbc3754c73e4cd24644db503be45a31eb6628f1731df68013f98e09fb9d07fcac11fbbc21f9cb35f5db4cf2ea69f3f68afcffa4",
  viridis: "440154470d6048186a482374472d7b4537814240863e49893b528b375b8d33638d2f6b8e2c728e297a8e26828e23898e21918c1f988b1fa08822a78528ae8032b67a3fbc734ec36b5ec96270cf5784d44b98d83eaddc30c2df23d8e219ece51bfde725",
  cividis: "00224e00285b002e6a0533711a386f273e6e32436d3b496c434e6c4b546c535a6d5a5f6e61656f686a716f70737676767d7c788482798c8878938e789b9476a39a74aba072b4a76fbcae6cc4b468cdbb63d5c25edec958e7d150f0d846f9e03afee838",
};

export const COLOUR_MAPS = Object.keys(TABLES);

/** How much of a colour covers the film, 0 to 1: nothing where there is no heat, so that the film stays to be seen. */
export function cover(level) {
  return Math.min(1, (1.6 * level) / 255);
}

/** Uint8 table of 256 x (red, green, blue). */
export function colourTable(name) {
  const text = TABLES[name];
  const steps = text.length / 6 - 1;
  const part = (step, band) => parseInt(text.slice(step * 6 + band * 2, step * 6 + band * 2 + 2), 16);
  const table = new Uint8Array(256 * 3);
  for (let level = 0; level < 256; level += 1) {
    const place = (level / 255) * steps;
    const step = Math.min(Math.floor(place), steps - 1);
    for (let band = 0; band < 3; band += 1) {
      const low = part(step, band);
      table[level * 3 + band] = Math.round(low + (part(step + 1, band) - low) * (place - step));
    }
  }
  return table;
}

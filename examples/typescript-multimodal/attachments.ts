// Reads the workbook and the image of a payload, and makes of them what a model takes.
import { DocumentBlock, ImageBlock } from '@strands-agents/sdk'
import type { ImageFormat } from '@strands-agents/sdk'
import ExcelJS from 'exceljs'
import { Jimp, intToRGBA } from 'jimp'

// What the Converse API takes in one block. A payload may be a hundred times that.
const MAX_DOCUMENT = 4_500_000
const MAX_IMAGE = 3_750_000
const MAX_SIDE = 1568 // pixels; models scale larger images down themselves

const EXCERPT_ROWS = 1000 // of a large workbook that the model is shown

const FORMATS: Record<string, ImageFormat> = { 'image/png': 'png', 'image/jpeg': 'jpeg', 'image/gif': 'gif' }

/** An Excel workbook. */
export class Workbook {
  private constructor(
    private readonly data: Buffer,
    private readonly book: ExcelJS.Workbook,
  ) {}

  static async read(data: Buffer): Promise<Workbook> {
    const book = new ExcelJS.Workbook()
    try {
      await book.xlsx.load(data as unknown as ArrayBuffer) // its types are older than Buffer's
    } catch (error) {
      throw new Error(`excel_data is not an .xlsx workbook: ${(error as Error).message}`)
    }
    if (book.worksheets.length === 0) throw new Error('excel_data is not an .xlsx workbook: it has no sheets')
    return new Workbook(data, book)
  }

  /** Tells each sheet's size and columns, with the sum of the columns of numbers. */
  describe(): string {
    return this.book.worksheets
      .map((sheet) => {
        const sums = new Map<number, number>()
        sheet.eachRow((row, number) => {
          if (number === 1) return
          row.eachCell(({ result, value }, column) => {
            const cell = result ?? value // of a formula, or plain
            if (typeof cell === 'number') sums.set(column, (sums.get(column) ?? 0) + cell)
          })
        })
        const columns: string[] = []
        sheet.getRow(1).eachCell((cell, column) => {
          columns.push(sums.has(column) ? `${cell.text} (sum ${sums.get(column)})` : cell.text)
        })
        return `Sheet ${sheet.name} has ${Math.max(sheet.actualRowCount - 1, 0)} rows of ${columns.join(', ')}.`
      })
      .join(' ')
  }

  /** The workbook as a document block; of a large one its first rows, as CSV. */
  block(): DocumentBlock {
    if (this.data.length <= MAX_DOCUMENT) return new DocumentBlock({ format: 'xlsx', name: 'workbook', source: { bytes: this.data } })
    const rows = this.book.worksheets[0]?.getRows(1, EXCERPT_ROWS) ?? []
    const csv = rows.map((row) => (row.values as ExcelJS.CellValue[]).slice(1).map((v) => JSON.stringify(v ?? '')).join(',')).join('\n')
    return new DocumentBlock({
      format: 'csv',
      name: 'first rows of the workbook',
      source: { bytes: Buffer.from(csv).subarray(0, MAX_DOCUMENT) },
    })
  }
}

type Pixels = Awaited<ReturnType<typeof Jimp.fromBuffer>>

/** An image in a format that models take and Jimp reads: PNG, JPEG or GIF. */
export class Picture {
  private constructor(
    private readonly data: Buffer,
    private readonly image: Pixels,
    private readonly format: ImageFormat,
  ) {}

  static async read(data: Buffer): Promise<Picture> {
    try {
      const image = (await Jimp.fromBuffer(data)) as Pixels
      const format = FORMATS[image.mime ?? '']
      if (!format) throw new Error(`it is ${image.mime}`)
      return new Picture(data, image, format)
    } catch (error) {
      throw new Error(`image_data is not a PNG, JPEG or GIF: ${(error as Error).message}`)
    }
  }

  /** Tells the size and the colours that fill most of the image, by a grid of its pixels. */
  describe(): string {
    const { width, height } = this.image
    const step = Math.max(1, Math.ceil(Math.max(width, height) / 100))
    const counts = new Map<string, number>()
    let total = 0
    for (let x = 0; x < width; x += step) {
      for (let y = 0; y < height; y += step, total++) {
        const { r, g, b } = intToRGBA(this.image.getPixelColor(x, y))
        const colour = `rgb(${r}, ${g}, ${b})`
        counts.set(colour, (counts.get(colour) ?? 0) + 1)
      }
    }
    const most = [...counts].sort(([, a], [, b]) => b - a).slice(0, 3)
    const colours = most.map(([colour, n]) => `${colour} (${Math.round((n * 100) / total)} %)`)
    return `The image is a ${this.format.toUpperCase()} of ${width} x ${height} pixels, mostly ${colours.join(', ')}.`
  }

  /** An image block; a large image is scaled down. */
  async block(): Promise<ImageBlock> {
    const { width, height } = this.image
    if (this.data.length <= MAX_IMAGE && Math.max(width, height) <= MAX_SIDE) {
      return new ImageBlock({ format: this.format, source: { bytes: this.data } })
    }
    const small = this.image.clone()
    if (Math.max(width, height) > MAX_SIDE) small.scaleToFit({ w: MAX_SIDE, h: MAX_SIDE })
    return new ImageBlock({ format: 'jpeg', source: { bytes: await small.getBuffer('image/jpeg', { quality: 85 }) } })
  }
}
